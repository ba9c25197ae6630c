"""Sizes of volumes and of containers' own layers, in a virtual machine whose kernel has project quotas (few hosts mount with them).

Run by its name only: it boots a machine.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

from harness import BIN, DOCKER, ENV, PATIENCE, busybox_image, run

SCRIPT = r"""
set -e
q=$1; bin=$2; docker=$3; image=$4
GRUA_QUOTA_DIR=$q "$bin/linux_test" --gtest_filter='ProjectQuotaTest.*' > $q/unit.txt 2>&1; grep -q 'PASSED.* 1 test' $q/unit.txt && ! grep -q SKIPPED $q/unit.txt && echo unit passed || cat $q/unit.txt
mkdir -p /run/gq
"$bin/gruad" -H unix:///run/gq/sock --data-root $q/data --exec-root /run/gq/exec --pidfile /run/gq/pid --bridge none --cgroup-parent /gq > $q/gruad.log 2>&1 &
gruad=$!
export DOCKER_HOST=unix:///run/gq/sock
i=0; until $docker version > /dev/null 2>&1; do i=$((i+1)); [ $i -lt 600 ] || { cat $q/gruad.log; exit 1; }; sleep 0.1; done
$docker load -q -i $image
$docker volume create -o size=2m small > /dev/null
fill="dd if=/dev/zero of=\$0/file bs=64k count=64 2>/dev/null; wc -c < \$0/file"
echo volume $($docker run --rm --network none -v small:/x busybox sh -c "$fill" /x)
echo layer $($docker run --rm --network none --storage-opt size=3m busybox sh -c "$fill" /tmp)
echo free $($docker run --rm --network none -v plain:/x busybox sh -c "$fill" /x)
$docker create --name kept --network none --storage-opt size=3m busybox sh -c "$fill" /tmp > /dev/null
kill -9 $gruad
"$bin/gruad" -H unix:///run/gq/sock --data-root $q/data --exec-root /run/gq/exec --pidfile /run/gq/pid --bridge none --cgroup-parent /gq >> $q/gruad.log 2>&1 &
i=0; until $docker version > /dev/null 2>&1; do i=$((i+1)); [ $i -lt 600 ] || { cat $q/gruad.log; exit 1; }; sleep 0.1; done
echo again $($docker start -a kept)
$docker rm kept > /dev/null
$docker volume rm small plain > /dev/null
echo removed
kill %2 || true
wait || true
"""


class Quota(unittest.TestCase):
    def test_sizes_are_kept(self):
        with tempfile.TemporaryDirectory(prefix="grua-quota-", dir="/var/tmp") as work:
            disk = pathlib.Path(work) / "disk"
            with open(disk, "wb") as file:
                file.truncate(256 << 20)
            run("mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", disk)
            done = subprocess.run([ENV / "cgroup2-run.sh", "--vm", "uml", "--disk", disk, "--disk-at", "/mnt", "--disk-opts", "prjquota", "--timeout", str(int(300 * PATIENCE)),
                                   "--", "bash", "-c", SCRIPT, "quota", "/mnt", str(BIN), DOCKER, str(busybox_image())],
                                  capture_output=True, text=True, check=False, env={**os.environ, "DOCKER_CONFIG": work, "DOCKER_CLI_HINTS": "false"})
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            seen = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
            self.assertIn("unit passed", done.stdout)
            for name, most in (("volume", 2 << 20), ("layer", 3 << 20), ("again", 3 << 20)):
                self.assertLessEqual(int(seen[name]), most, name)
                self.assertGreater(int(seen[name]), most * 0.8, name)
            self.assertEqual(int(seen["free"]), 4 << 20)
            self.assertIn("removed", done.stdout)
