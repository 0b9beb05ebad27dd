#!/usr/bin/env bash
# The sandbox's own tests and its attacks in a virtual machine with cgroup v2, where the layer `control-group` can be had.
#
# Usage: tests/real/control_groups.sh [KERNEL]      (default: the newest /boot/vmlinuz-*-cloud-amd64)
# Needs a Debian with qemu-system-x86, busybox-static, cpio, python3 in /usr/bin and linux-image-cloud-amd64, /dev/kvm, and
# a build: cargo test --release --workspace --locked --no-run; ACCELERATOR="-accel tcg -cpu max" where KVM does not run.
set -euo pipefail
root=$(realpath "$(dirname "$0")/../..")
kernel=${1:-$(ls /boot/vmlinuz-*-cloud-amd64 | tail -1)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
stage=$folder/stage
mkdir -p "$stage"/{proc,sys,dev,tmp,run,etc,new,usr/bin,usr/lib,usr/lib64}
for name in bin lib lib64; do ln -s "usr/$name" "$stage/$name"; done
tests() { # the newest test program of that name that holds this test
  for program in $(ls -t "$root/target/release/deps/$1"-*); do
    case ${program##*/} in *.*) continue ;; esac
    if "$program" --list 2> /dev/null | grep "$2" > /dev/null; then echo "$program"; return; fi
  done
}
sandbox=$(tests main a_program_sees_its_files) attacks=$(tests code what_exhausts_is_stopped)
programs=(/usr/bin/{python3.11,sh,dash,bash,id,cat,ls,sleep,env,true} "$root"/target/release/{distill,distill-sandbox-supervisor,distill-verify-supervisor} "$sandbox" "$attacks")
cp -a --parents /usr/bin/python3 /usr/lib/python3.11 /etc/passwd /etc/group "$stage"
for program in "${programs[@]}"; do install -D "$(realpath "$program")" "$stage$program"; done
ldd "${programs[@]}" /usr/lib/python3.11/lib-dynload/*.so | awk '$3 ~ /^\// {print $3} $1 ~ /^\/lib64/ {print $1}' | sort -u |
  while read -r library; do install -D "$(realpath "$library")" "$stage/usr${library#/usr}"; done
cp /bin/busybox "$stage/usr/bin/busybox"
cat > "$stage/init" << 'INIT'
#!/usr/bin/busybox sh
# A root that is no initramfs: pivot_root needs one.
b=/usr/bin/busybox
$b mount -t tmpfs -o size=3g tmpfs /new
for entry in /*; do
  case $entry in /new | /proc | /sys | /dev) ;; *) $b cp -a "$entry" /new ;; esac
done
$b mkdir -p /new/proc /new/sys /new/dev
exec $b switch_root /new /second
INIT
cat > "$stage/second" << SECOND
#!/usr/bin/busybox sh
b=/usr/bin/busybox
\$b mount -t proc proc /proc
\$b mount -t sysfs sysfs /sys
\$b mount -t devtmpfs dev /dev
\$b mount -t cgroup2 cgroup2 /sys/fs/cgroup
\$b chmod 1777 /tmp
export PATH=/usr/bin HOME=/tmp RUST_BACKTRACE=0
cd /tmp
$root/target/release/distill doctor
echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control
$sandbox --test-threads 2; echo "sandbox: \$?"
$attacks --test-threads 2; echo "attacks: \$?"
echo '{"id": "hog", "language": "python", "response": "\`\`\`python\nx = [bytes(range(256)) * 4096 for _ in range(10000)]\n\`\`\`", "tests": {"kind": "stdin", "cases": [{"input": "", "output": "1"}]}}' > hog
$root/target/release/distill verify code < hog
ls -d /sys/fs/cgroup/distill-* 2> /dev/null || echo no group is left
\$b poweroff -f
SECOND
chmod +x "$stage/init" "$stage/second"
(cd "$stage" && find . | cpio -o -H newc --quiet) > "$folder/initrd"
timeout "${SECONDS_AT_MOST:-900}" qemu-system-x86_64 ${ACCELERATOR:--enable-kvm -cpu host} -smp 2 -m 8G -nographic -no-reboot -kernel "$kernel" -initrd "$folder/initrd" \
  -append "console=ttyS0 quiet panic=-1 rdinit=/init" | tr -d '\r' | tee "$folder/console"
for line in "sandbox: 0" "attacks: 0" "no group is left"; do
  grep -qx "$line" "$folder/console" || { echo "not seen: $line"; exit 1; }
done
grep -q '"id":"hog".*"outcome":"memory".*control-group' "$folder/console" || { echo "the memory bomb was not told as such"; exit 1; }
