#SBATCH --job-name={{job_name}}
#SBATCH --nodes={{nodes}}
#SBATCH --ntasks-per-node=1
{{gpus_line}}
{{partition_line}}
{{account_line}}
#SBATCH --time={{time}}
#SBATCH --output={{log}}
#SBATCH --open-mode=append
#SBATCH --requeue

# Written by `distill teacher launch`. The server is started below, and registered once it answers: REGISTRY/JOB.json holds
# its URL from then until this script ends. A node that dies leaves the file behind; the job's next run replaces it.
# Exit status: 124 where the server was not healthy in time, that of the server where it ended (1 where that was 0).
set -euo pipefail

port={{port}}
model={{model}}
health_path={{health_path}}
registry={{registry}}
load_timeout_s={{load_timeout_s}}

registration=$registry/$SLURM_JOB_ID.json
temporary=$registry/.$SLURM_JOB_ID.json.tmp
names=() processes=()

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

fail() { # STATUS MESSAGE
  printf '%s distill: job %s: %s\n' "$(now)" "$SLURM_JOB_ID" "$2" >&2
  exit "$1"
}

finish() {
  local status=$? pid deadline=$((SECONDS + 20))
  trap - EXIT
  trap '' HUP INT TERM
  rm -f -- "$registration" "$temporary"
  for pid in "${processes[@]}"; do kill -TERM -- "-$pid" 2> /dev/null || true; done
  for pid in "${processes[@]}"; do
    while ((SECONDS < deadline)) && kill -0 -- "-$pid" 2> /dev/null; do sleep 0.2; done
    kill -KILL -- "-$pid" 2> /dev/null || true
  done
  exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# A signal ends `wait` at once, but not a command in the foreground.
pause() { # SECONDS
  sleep "$1" &
  wait "$!" || true
}

# In a process group of its own, so that what the command starts ends with it.
start() { # NAME COMMAND…
  names+=("$1")
  shift
  set -m
  "$@" < /dev/null &
  processes+=("$!")
  set +m
}

all_run() { # WHEN
  local i status=0
  for i in "${!processes[@]}"; do
    if kill -0 "${processes[i]}" 2> /dev/null; then continue; fi
    wait "${processes[i]}" || status=$?
    fail "$((status == 0 ? 1 : status))" "${names[i]} ended $1, with status $status"
  done
}

# Tries every 5 s, while all that was started runs. Loading has one limit, from the script's start.
wait_until() { # WHAT COMMAND…
  local what=$1 left
  shift
  until "$@"; do
    all_run "before $what"
    left=$((load_timeout_s - SECONDS))
    ((left > 0)) || fail 124 "load timeout: $load_timeout_s s are over before $what"
    pause "$((left < 5 ? left : 5))"
  done
  all_run "before $what"
}

# No proxy: clusters set one for the outside, and nodes are inside.
healthy() {
  local url=http://$host:$port$health_path
  if command -v curl > /dev/null; then
    [[ $(curl --silent --noproxy '*' --max-time 4 --output /dev/null --write-out '%{http_code}' "$url") == 200 ]]
  else
    python3 - "$url" << 'PYTHON' 2> /dev/null
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
sys.exit(opener.open(sys.argv[1], timeout=4).status != 200)
PYTHON
  fi
}

register() {
  local quoted=${model//\\/\\\\}
  quoted=${quoted//\"/\\\"}
  printf '{"url": "http://%s:%s/v1", "job": "%s", "model": "%s", "started": "%s"}\n' \
    "$host" "$port" "$SLURM_JOB_ID" "$quoted" "$(now)" > "$temporary"
  mv -f -- "$temporary" "$registration"
}

# From a server that loads to the end of the job.
serve() {
  wait_until "http://$host:$port$health_path answered 200" healthy
  register
  while true; do
    all_run "while it served"
    pause 1
  done
}

# Where several nodes find each other: $address and $meeting_port.
# The address is what another node resolves: on the node itself its own name may mean a loopback address. The port is above
# those that Ray's workers take and below those that the system hands out; another one after a requeue, since an older Ray
# refuses the address that files of its last run name.
meet() {
  meeting_port=$((20000 + (SLURM_JOB_ID + 1000 * ${SLURM_RESTART_COUNT:-0}) % 10000))
  if ((meeting_port == port)); then meeting_port=$((meeting_port + 1)); fi
  address=$(srun --relative=1 --nodes=1 --ntasks=1 --overlap getent ahostsv4 "$host" | awk 'NR == 1 {print $1}')
  if [[ -z $address ]]; then fail 1 "no other node finds an IPv4 address of $host"; fi
}

mkdir -p -- "$registry"
rm -f -- "$registration" "$temporary"
if [[ $model == *[[:cntrl:]]* ]]; then fail 1 "the model's name has a control character"; fi
# The job's first node, where this script runs, by the name that other nodes know.
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
host=${hosts[0]:?scontrol names no node}
# Another server on this port would pass for ours.
if (: > "/dev/tcp/$host/$port") 2> /dev/null; then fail 1 "port $port of $host is taken"; fi
