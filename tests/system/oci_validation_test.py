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

from harness import BIN, CACHE, ENV, PATIENCE, cgroup_version, has_apparmor, run

DIR = CACHE / "oci-validation"
RUNTIME = os.environ.get("GRUA_OCI_RUNTIME", str(BIN / "grua-runtime"))


def exists(path):
    return lambda: os.path.exists(path)


def keeps_limits_of_kernel_memory():
    """Kernels since 5.16 take the number and forget it."""
    return tuple(int(part) for part in re.findall(r"\d+", os.uname().release)[:2]) < (5, 16)


def has_all_capabilities():
    last = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    bounding = re.search(r"CapBnd:\s*(\w+)", pathlib.Path("/proc/self/status").read_text())[1]
    return int(bounding, 16) == (1 << (last + 1)) - 1


def passes_profiles_over():
    """With AppArmor a profile has to be loaded, and nobody has the program's."""
    return not has_apparmor()


# What the programs want that is against the specification of today, or against what Docker and containerd need. runc fails them too.
WRONG = {"delete", "hooks", "misc_props", "poststart_fail", "prestart", "process_capabilities_fail", "process_rlimits", "start"}
# What neither runc nor grua-runtime has.
MISSING = {"linux_cgroups_network", "linux_cgroups_relative_network"}
# What this machine has not: {program: whether it is there}.
NEEDS = {"linux_cgroups_blkio": exists("/sys/fs/cgroup/blkio/blkio.leaf_weight"), "linux_cgroups_relative_blkio": exists("/sys/fs/cgroup/blkio/blkio.leaf_weight"),
         "linux_cgroups_hugetlb": exists("/sys/fs/cgroup/hugetlb"), "linux_cgroups_relative_hugetlb": exists("/sys/fs/cgroup/hugetlb"),
         "linux_cgroups_memory": keeps_limits_of_kernel_memory, "linux_cgroups_relative_memory": keeps_limits_of_kernel_memory,
         "linux_process_apparmor_profile": passes_profiles_over, "process_capabilities": has_all_capabilities}
# Programs that do not wait for what they look at; and one gives its hooks 1 s each, which an emulated machine may need for `sh`.
RACES = {"killsig", "pidfile", "poststart"} | ({"hooks_stdin"} if PATIENCE > 1 else set())


def is_about_cgroups(name):
    """They share a path of the host, and look for the folders of cgroup v1: with v2 all of them fail, whatever the runtime did."""
    return "cgroups" in name or name.startswith("delete_")


def verdict(name):
    """Why it failed; empty where it passed."""
    with tempfile.TemporaryDirectory(prefix="grua-oci-", dir=os.environ.get("GRUA_TEST_DIR", "/var/tmp")) as bundles:
        os.chmod(bundles, 0o711)  # The root of a user namespace has to get through.
        try:
            # A container without a mount namespace mounts where its caller is: not on this machine.
            done = subprocess.run(["unshare", "--mount", DIR / "bin" / name], cwd=DIR, env={**os.environ, "RUNTIME": RUNTIME, "TMPDIR": bundles},
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", timeout=120 * PATIENCE)
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

    def tearDown(self):
        for path in ("testdir/cgrouptest", "testdir"):  # The parents of their cgroups stay.
            for folder in pathlib.Path("/sys/fs/cgroup").glob(path if cgroup_version() == 2 else f"*/{path}"):
                folder.rmdir()

    def test_all_pass_but_the_known(self):
        run(ENV / "oci-validation.sh", timeout=600)
        names = sorted(path.name for path in (DIR / "bin").iterdir())
        self.assertGreater(len(names), 50)
        alone = [name for name in names if is_about_cgroups(name)]
        rest = [name for name in names if name not in alone]
        # Some programs wait 10 s at most; an emulated machine has to be done by then.
        with concurrent.futures.ThreadPoolExecutor(6 if PATIENCE == 1 else 2) as pool:
            others = pool.map(verdict, rest)
            found = {name: verdict(name) for name in alone}
            found |= dict(zip(rest, others))
        known = WRONG | MISSING | {name for name, is_there in NEEDS.items() if not is_there()}
        if cgroup_version() == 2:
            known |= set(alone)
            # What they ask for is applied all the same, but for limits of a disk that is not there, and of the network.
            refused = {name: why for name, why in found.items() if "failed to create the container" in why and name in alone}
            self.assertLessEqual(set(refused), {"linux_cgroups_blkio", "linux_cgroups_relative_blkio"} | MISSING, refused)
        failed = {name: why for name, why in found.items() if why and name not in RACES}
        for name in sorted(failed):
            if os.environ.get("GRUA_OCI_VERBOSE"):
                print(f"  {name}: {failed[name][:400]}")
        report = "\n".join(f"{name}: {why}" for name, why in sorted(failed.items()) if name not in known)
        self.assertEqual(sorted(failed), sorted(known), report)
