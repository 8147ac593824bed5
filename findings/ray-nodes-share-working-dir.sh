#!/usr/bin/env bash
# Ray 2.60.0: a second node on a machine deletes the working_dir that the first one's actors run in.
#
# The folder of an unpacked working_dir is named by its content and lies in the session's folder,
# which all nodes of a cluster share where they run on one machine and --temp-dir is not given for
# each. A node that needs it unpacks it, and removes what lies there before. The path then exists
# again, but an actor that began in it stands in the deleted folder: os.getcwd() raises, and each
# relative path fails.
#
# Seen: the first node's actor is in its folder before another node joins and is used, and gets
# FileNotFoundError afterwards, while the path is there.
set -euo pipefail
work=$(mktemp -d)
venv=${FINDINGS_VENV:-$work/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet ray==2.60.0
export HOME=$work RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS
cd "$work"
node() {
  "$venv/bin/ray" start "$@" --num-cpus=1 --num-gpus=0 --object-store-memory=100000000 \
    --disable-usage-stats --block >>log 2>&1 &
}
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
free="import socket; s = socket.socket(); s.bind(('127.0.0.2', 0)); print(s.getsockname()[1])"
head=127.0.0.2:$("$venv/bin/python" -c "$free")
node --head --node-ip-address=127.0.0.2 --port="${head#*:}" --include-dashboard=false --temp-dir="$work/t"
until grep -q "runtime started" log; do sleep 0.5; done
mkdir sent && echo hello >sent/file.txt
cat >look.py <<'EOF'
import os
import sys
import time
from pathlib import Path

import ray

ray.init(
    address=sys.argv[1],
    runtime_env={"working_dir": "sent"},
    logging_level="ERROR",
    log_to_driver=False,
    _node_ip_address="127.0.0.2",
)


@ray.remote(num_cpus=0.1)
class Actor:
    def __init__(self):
        self.began_in = os.getcwd()

    def look(self):
        """The current directory, and whether the path that it had at first is there."""
        try:
            now = "as at first" if os.getcwd() == self.began_in else "elsewhere"
        except OSError as error:
            now = type(error).__name__
        return now, os.path.exists(self.began_in)


def on(address):
    return Actor.options(resources={f"node:{address}": 0.001}).remote()


first = on("127.0.0.2")
before = ray.get(first.look.remote())
Path("begun").touch()
until = time.monotonic() + 120
while len([node for node in ray.nodes() if node["Alive"]]) < 2 and time.monotonic() < until:
    time.sleep(0.5)
beside = ray.get(on("127.0.0.3").look.remote())
after = ray.get(first.look.remote())
ray.shutdown()
print(before, beside, after)
expected = ("as at first", True), ("as at first", True), ("FileNotFoundError", True)
if (before, beside, after) != expected:
    sys.exit("changed")
EOF
timeout 200 "$venv/bin/python" look.py "$head" &
driver=$!
until [ -e begun ] || ! kill -0 $driver 2>/dev/null; do sleep 0.2; done
node --address="$head" --node-ip-address=127.0.0.3
wait $driver
