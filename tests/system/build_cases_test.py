"""Builds beside what Docker's own builder was recorded to make of the same cases (tests/conformance/dockerfile): every eighth of them, or with
GRUA_CASES=all every one, which `./test conformance` does."""

import os
import pathlib
import sys
import unittest

from harness import Case

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "conformance/dockerfile"))
import compare  # noqa: E402

EVERY = 1 if os.environ.get("GRUA_CASES") == "all" else 8


class Cases(Case):
    def test_what_is_built_is_what_docker_builds(self):
        rules, other, count = compare.differences(), [], 0
        with compare.Runner(self.daemon.socket, ["nsenter", f"--net=/proc/{self.daemon.holder.pid}/ns/net"]) as runner:
            for case in list(compare.cases())[::EVERY]:
                count += 1
                text = compare.difference(case, runner.run(case), rules)
                if text:
                    other.append(text)
        self.assertGreater(count, 900 // EVERY)
        self.assertEqual(other, [], f"{len(other)} of {count} cases:\n{''.join(other)}")
        if EVERY == 1:
            self.assertEqual(compare.stale(rules), [], "rules that nothing was like")


if __name__ == "__main__":
    unittest.main()
