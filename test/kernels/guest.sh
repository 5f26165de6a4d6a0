#!/bin/sh
# guest.sh CHECKOUT: the tests in a guest. The host wrote their files to `/run/result/files`, one a line; the
# guest writes what doctor finds, and vitest's report.
result=/run/result
cd "$1" || exit
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mkdir -p /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup
ip link set lo up
node dist/bundle/main.js --root /tmp/doctor doctor --format json >"$result/doctor" 2>&1
# Emulation is slower than the machine that the timeouts are for. The host has transformed the modules already,
# and without isolation a worker imports them once.
node node_modules/vitest/vitest.mjs run --project integration \
  --no-isolate --testTimeout=300000 --hookTimeout=300000 \
  --experimental.fsModuleCache --experimental.fsModuleCachePath=/run/cache \
  --reporter=verbose --reporter=json --outputFile.json="$result/report" \
  $(cat "$result/files") >"$result/log" 2>&1
sync
echo o >/proc/sysrq-trigger
# The machine is off before this ends.
sleep 60
