#!/usr/bin/env bash
# down.sh: ends the cluster of up.sh. Killing the first process of its pid namespace kills every other, and mounts and
# network go with it. Env: RUN as for up.sh; KEEP=1 keeps the logs.
set -u
here=$(cd "$(dirname "$0")" && pwd)
RUN=${RUN:-$here/run}
[[ -e $RUN/ns.pid ]] || { echo "down.sh: nothing is up in $RUN"; exit 0; }
outer=$(cat "$RUN/ns.pid")
[[ ! -e $RUN/init.pid ]] || kill -KILL "$(cat "$RUN/init.pid")" 2>/dev/null
kill "$outer" 2>/dev/null
for _ in $(seq 100); do
  kill -0 "$outer" 2>/dev/null || break
  sleep 0.1
done
ip link del kubeh 2>/dev/null
# The cgroups of pods are empty now.
for folder in /sys/fs/cgroup/*/kubepods /sys/fs/cgroup/unified/kubepods /sys/fs/cgroup/kubepods; do
  [[ ! -d $folder ]] || find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null
done
if [[ ${KEEP:-0} == 1 ]]; then mv "$RUN" "$RUN.kept.$(date +%s)"; else rm -rf "$RUN"; fi
