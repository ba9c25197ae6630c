"""Docker's compose plugin, unmodified, and grua as the one who runs plugins."""

import json
import pathlib

from harness import Case, wait_until

PROJECT = """
services:
  db:
    image: busybox
    pull_policy: never
    command: sh -c "sleep 1; touch /ready; exec sleep 1000"
    volumes: ["data:/data"]
    healthcheck:
      test: ["CMD", "test", "-e", "/ready"]
      interval: 300ms
      timeout: 5s
      retries: 100
  web:
    image: busybox
    pull_policy: never
    command: sh -c "echo hello > /index.html; exec httpd -f -h / -p 80"
    depends_on:
      db:
        condition: service_healthy
  once:
    image: busybox
    pull_policy: never
    command: sh -c "nslookup db; wget -qO- http://web/"
    profiles: ["once"]
volumes:
  data: {}
"""


class Compose(Case):
    def setUp(self):
        self.file = pathlib.Path(self.daemon.root) / "compose.yaml"
        self.file.write_text(PROJECT)
        self.addCleanup(self.compose, "--profile", "*", "down", "-v", "-t", "0", check=False)

    def compose(self, *words, **more):
        return self.docker("compose", "-p", "project", "-f", self.file, "--progress", "plain", *words, **{"timeout": 120, **more})

    def test_what_is_healthy_comes_first(self):
        self.compose("up", "-d", "--wait")
        states = {each["Service"]: each for each in map(json.loads, self.compose("ps", "--format", "json").stdout.splitlines())}
        self.assertEqual({name: each["State"] for name, each in states.items()}, {"db": "running", "web": "running"})
        self.assertEqual(states["db"]["Health"], "healthy")
        began = {name: self.daemon.inspect(f"project-{name}-1")["State"]["StartedAt"] for name in ("db", "web")}
        ready = self.daemon.inspect("project-db-1")["State"]["Health"]["Log"]
        self.assertTrue(ready)
        self.assertLess(began["db"], began["web"])
        self.assertEqual(self.compose("run", "--rm", "once").stdout.strip().split("\n")[-1], "hello")
        self.compose("up", "-d", "--scale", "web=3", "--wait")
        self.assertEqual(len(self.out("ps", "-q", "--filter", "label=com.docker.compose.service=web").split()), 3)
        self.daemon.kill()
        self.daemon.start()
        wait_until("db is healthy", lambda: self.daemon.inspect("project-db-1")["State"]["Health"]["Status"] == "healthy")
        self.assertEqual(self.compose("exec", "-T", "db", "ls", "/ready").stdout, "/ready\n")
        self.compose("down", "-v", "-t", "0")
        self.assertEqual(self.out("ps", "-aq"), "")
        self.assertEqual(self.out("volume", "ls", "-q"), "")
        self.assertNotIn("project_default", self.out("network", "ls", "--format", "{{.Name}}"))

    def test_what_never_becomes_healthy_is_told(self):
        self.file.write_text(PROJECT.replace("/ready\"]", "/never\"]").replace("retries: 100", "retries: 2"))
        failed = self.compose("up", "-d", check=False)
        self.assertNotEqual(failed.returncode, 0)
        self.assertIn("unhealthy", failed.stderr)

    def test_grua_runs_the_plugin(self):
        self.assertIn("compose version", self.grua("compose", "version").stdout.lower())
        self.grua("compose", "-p", "project", "-f", self.file, "--progress", "plain", "up", "-d", "--wait", timeout=120)
        self.assertIn("project-web-1", self.grua("ps", "--format", "{{.Names}}").stdout)


class Plugins(Case):
    def test_they_get_their_words_and_the_daemons_address(self):
        folder = pathlib.Path(self.daemon.root) / "docker-config/cli-plugins"
        if folder.is_symlink():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        plugin = folder / "docker-hello"
        plugin.write_text("#!/bin/sh\necho \"$@\"\necho $DOCKER_HOST\nexit 7\n")
        plugin.chmod(0o755)
        done = self.grua("hello", "--option", "a b", check=False)
        self.assertEqual((done.returncode, done.stdout), (7, f"hello --option a b\nunix://{self.daemon.socket}\n"))
        done = self.grua("-H", "unix:///elsewhere", "hello", check=False)
        self.assertEqual(done.stdout.split("\n")[1], "unix:///elsewhere")
        plugin.chmod(0o644)
        self.assertIn("unknown command: grua hello", self.grua("hello", check=False).stderr)
        self.assertIn("unknown command", self.grua("../hello", check=False).stderr)
        missing = self.grua("buildx", "ls", check=False)
        self.assertEqual(missing.returncode, 1)
        self.assertIn("grua buildx runs Docker's plugin, and docker-buildx is in none of", missing.stderr)
