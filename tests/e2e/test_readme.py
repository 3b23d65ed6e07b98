"""What README.md says to type by hand works, as it stands there; only ports and PATH are this test's."""

import re
import subprocess
import sys
from pathlib import Path

from tests.support.processes import free_port
from tests.support.sources import PROJECT

DEADLINE_S = 90
PORTS = ("50050", "50051", "50052")
READY = {"weft dev": "is ready", "weft sidecar": '"ready"', "python -m examples": "serving on"}
"""What a command that stays says once it serves."""

PRELUDE = """\
set -euo pipefail
started=()
end() { for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; wait; }
trap end EXIT
serves() {  # log, text
  for _ in {1..400}; do grep -q -- "$2" "$1" && return; sleep 0.05; done
  echo "never said $2:"; cat "$1"; exit 1
}
healthy() {  # service; who types is slower than the registry's first look at the sidecar's port
  python - "http://$WEFT_HTTP_ADDR/v1/health/service/$1-sidecar-proxy?passing" <<'END'
import sys, time, urllib.request
for _ in range(400):
    if urllib.request.urlopen(sys.argv[1]).read() != b"[]":
        break
    time.sleep(0.05)
else:
    sys.exit("never healthy")
END
}
"""


def test_what_the_readme_says_to_type_works(tmp_path: Path) -> None:
    typed = "".join(re.findall(r"^```bash\n(.*?)^```", (PROJECT / "README.md").read_text(), re.M | re.S))
    script = PRELUDE + "\n".join(scripted(line, number) for number, line in enumerate(typed.splitlines()))
    for port in PORTS:
        script = script.replace(port, str(free_port()))
    weft = tmp_path / "weft"
    weft.write_text(f'#!/bin/sh\nexec {sys.executable} -m weft "$@"\n')
    weft.chmod(0o755)
    http = free_port()
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={
            "PATH": f"{tmp_path}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(PROJECT),
            "WEFT_HTTP_PORT": str(http),
            "WEFT_GRPC_PORT": "0",
            "WEFT_DNS_PORT": "0",
            "WEFT_HTTP_ADDR": f"127.0.0.1:{http}",
        },
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert 'instance: "orders"' in ran.stdout or 'instance: "orders-1"' in ran.stdout
    assert "PERMISSION_DENIED" in ran.stdout
    assert ran.stdout.rstrip().endswith("passing")


def scripted(line: str, number: int) -> str:
    """A line of the README as the script has it: what stays is waited for, the environment is ours."""
    if line.startswith(("source ", "export PYTHONPATH")):
        return ""
    if not line.endswith(" &"):
        return line
    log = f"{number}.log"
    (text,) = [said for command, said in READY.items() if line.startswith(command)]
    started = f"{line[:-2]} > {log} 2>&1 &\nstarted+=($!)\nserves {log} '{text}'"
    sidecar = re.match(r"weft sidecar --credential (\w+)\.credential", line)
    return f"{started}\nhealthy {sidecar[1]}" if sidecar else started
