"""gruad's answers are those of Docker's engine, which are recorded in tests/conformance/docker_answers.txt (beside_dockerd makes it)."""

import sys

from harness import REPOSITORY, SANITIZED, Daemon, busybox_image

sys.path.insert(0, str(REPOSITORY / "tests/conformance"))
import answers  # noqa: E402
import refusals  # noqa: E402
import unittest  # noqa: E402


class SameAnswers(unittest.TestCase):
    # G11, G15
    def test_every_answer_is_dockers_or_differs_on_purpose(self):
        daemon = Daemon(image=False)
        self.addCleanup(daemon.close)
        engine = answers.Engine(daemon.socket)
        made = answers.build(engine, busybox_image())
        lines = answers.lines_of(answers.facts(engine, *made)) + refusals.lines(engine, answers.Names(engine, {}))
        if SANITIZED:  # It runs with --debug then, and says so.
            lines = [line.replace("/info | * | Debug = true", "/info | * | Debug = false") for line in lines]
        docker = (REPOSITORY / "tests/conformance/docker_answers.txt").read_text().splitlines()
        found, stale = answers.differences(docker, lines)
        # differences.txt says what is meant to differ; docs/api.md says why.
        self.assertFalse(found, "\n" + "\n".join(found))
        self.assertFalse(stale, "differences.txt has lines that meet nothing:\n" + "\n".join(stale))
