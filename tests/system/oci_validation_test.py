"""The OCI's validation programs (runtime-tools) against grua-runtime: each passes but those below, for the reasons in docs/oci-validation.md.

GRUA_OCI_RUNTIME=/usr/sbin/runc runs them against another runtime.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import tempfile
import unittest

from harness import BIN, CACHE, ENV, PATIENCE, cgroup_version, run

DIR = CACHE / "oci-validation"
RUNTIME = os.environ.get("GRUA_OCI_RUNTIME", str(BIN / "grua-runtime"))

# Programs that neither runc 1.3 nor crun 1.28 passes, on any kernel.
WRONG = set()
# What this kernel has not: {program: the file whose absence is the reason}.
NEEDS = {}


def verdict(name):
    """Why it failed; empty where it passed."""
    with tempfile.TemporaryDirectory(prefix="grua-oci-", dir="/var/tmp") as bundles:
        try:
            done = subprocess.run([DIR / "bin" / name], cwd=DIR, env={**os.environ, "RUNTIME": RUNTIME, "TMPDIR": bundles}, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=120 * PATIENCE)
        except subprocess.TimeoutExpired as error:
            return f"no end after {error.timeout:.0f} s"
    wrong = [line for line in done.stdout.splitlines() if line.startswith("not ok") and "# TODO" not in line]
    if wrong:
        return "; ".join(wrong) + "\n" + done.stderr
    if done.returncode != 0:
        return f"exit {done.returncode}\n{done.stderr}"
    # Programs that look at a whole life print nothing where all went well, and else what went wrong.
    lines = re.findall(r"^ok ", done.stdout, re.M)
    return "" if lines or '"error"' not in done.stdout else done.stdout + done.stderr


class Programs(unittest.TestCase):
    maxDiff = None

    def test_all_pass_but_the_known(self):
        run(ENV / "oci-validation.sh", timeout=600)
        names = sorted(path.name for path in (DIR / "bin").iterdir())
        self.assertGreater(len(names), 50)
        # Those about cgroups share a path of the host.
        alone = [name for name in names if "cgroups" in name or name == "delete_resources"]
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            others = pool.map(verdict, [name for name in names if name not in alone])
            found = {name: verdict(name) for name in alone}
            found |= dict(zip([name for name in names if name not in alone], others))
        known = WRONG | {name for name, file in NEEDS.items() if not pathlib.Path(file).exists()}
        failed = {name: why for name, why in found.items() if why}
        for name in sorted(failed):
            if os.environ.get("GRUA_OCI_VERBOSE"):
                print(f"  {name}: {failed[name][:400]}")
        report = "\n".join(f"{name}: {why}" for name, why in sorted(failed.items()) if name not in known)
        self.assertEqual(sorted(failed), sorted(known), report)
