# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OpenSSH into containers, without a network and without a server that listens: ``ssh-config`` and ``ssh-proxy``.

``ssh-proxy`` runs ``sshd -i`` in the container through ``incus exec``, and ssh talks to it on the standard streams. Only who may use the
Incus socket, and so is root in each container anyway, gets that far. Both sides prove themselves with keys all the same, because ssh knows no
other way: the user has a key pair of repoman's, whose public half sshd gets for each connection, and the container has a host key, whose
public half comes through Incus and is put into a ``known_hosts`` of the project before sshd answers.
"""

from __future__ import annotations

import os
import selectors
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from repoman import shell
from repoman.errors import NOT_FOUND, CliError

DOMAIN = "repoman"
"""The last part of the host names, so that they are not those of other hosts."""
OUTPUT_LIMIT = 65_536
"""Bytes that are read at most of each stream of a program in the container, which may print without end."""
NO_SERVER = 42
"""Exit status of :data:`PREPARE_SCRIPT` if the container has no sshd."""
CONFIG = "/run/repoman/ssh/config"
PREPARE_SCRIPT = r"""
set -eu
repoman_account=$1 repoman_key=$2 repoman_project=$3 repoman_names=$4
repoman_end='
'
repoman_pairs="\"REPOMAN_PROJECT=$repoman_project\""
for repoman_name in $repoman_names; do
    eval "repoman_value=\${$repoman_name-} repoman_is_set=\${$repoman_name+yes}"
    case $repoman_value in *[\"\\]* | *"$repoman_end"*) continue ;; esac
    if [ -n "$repoman_is_set" ]; then repoman_pairs="$repoman_pairs \"$repoman_name=$repoman_value\""; fi
done
PATH=$PATH:/usr/sbin:/sbin
sshd=$(command -v sshd) && command -v ssh-keygen >/dev/null || exit 42
umask 022
run=/run/repoman/ssh keys=/var/lib/repoman/ssh
mkdir -p /run/repoman "$run" /run/sshd "$keys"
chmod 0755 /run/repoman "$run"
chmod 0700 "$keys"
if ! [ -s "$keys/host_key" ]; then
    ssh-keygen -q -t ed25519 -N '' -C "$repoman_project" -f "$keys/new.$$"
    ln "$keys/new.$$" "$keys/host_key" 2>/dev/null || :
    rm -f "$keys/new.$$" "$keys/new.$$.pub"
fi
echo "$repoman_key" >"$run/keys.$$"
(umask 077; cat >"$run/config.$$") <<END
HostKey $keys/host_key
AuthorizedKeysFile $run/authorized_keys
AllowUsers $repoman_account
PermitRootLogin no
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM yes
PrintMotd no
AllowAgentForwarding no
X11Forwarding no
AllowTcpForwarding yes
AllowStreamLocalForwarding yes
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
PidFile none
LogLevel ERROR
SetEnv $repoman_pairs
END
mv -f "$run/keys.$$" "$run/authorized_keys"
mv -f "$run/config.$$" "$run/config"
echo "$sshd"
ssh-keygen -y -f "$keys/host_key"
"""
"""Runs in the container as root before sshd. Prints the path of sshd and the public host key, which is made once. Nothing is written to the
home. Arguments: the account, the user's public key, the project, and the names of the environment variables to set; those whose values
sshd's configuration cannot hold are left out."""


class TooMuchOutput(Exception):
    """A program has printed more than :data:`OUTPUT_LIMIT`."""


def directory() -> Path:
    """Return the directory of repoman's keys and ``known_hosts`` of the user."""
    return Path.home() / ".local/state/repoman/ssh"


def public_key() -> str:
    """Return the public key of the user for containers; the pair is made at the first use.

    :raises CliError: it cannot be made or read.
    """
    key = directory() / "id_ed25519"
    if shutil.which("ssh-keygen") is None:
        raise CliError("ssh-keygen is not installed.", "sudo apt install openssh-client", exit_code=NOT_FOUND)
    try:
        if not key.exists():
            _make_key(key)
        return _keygen("-y", "-P", "", "-f", key).strip()
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error.stderr).strip()
        raise CliError(
            f"cannot read or make the ssh key {key}: {reason}.", f"rm -f {shlex.quote(str(key))}   # ssh-config makes a new one"
        ) from error


def _make_key(key: Path) -> None:
    """Make the key pair; of two runs at once, the key of the first stays."""
    key.parent.mkdir(0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=key.parent) as temporary:
        made = Path(temporary, key.name)
        _keygen("-q", "-t", "ed25519", "-N", "", "-C", DOMAIN, "-f", made)
        with suppress(FileExistsError):
            os.link(made, key)


def _keygen(*arguments: str | Path) -> str:
    """Run ``ssh-keygen``; return its output."""
    command = ["ssh-keygen", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def write_known_hosts(path: Path, content: bytes) -> None:
    """Replace a file at once, unless it has this content; make its directory.

    :raises CliError: it cannot be written.
    """
    try:
        path.parent.mkdir(0o700, parents=True, exist_ok=True)
        _write(path, content)
    except OSError as error:
        hint = f"df -h {shlex.quote(str(path.parent))}"
        raise CliError(f"cannot write {path}: {error.strerror or error}.", hint) from error


def _write(path: Path, content: bytes) -> None:
    with suppress(OSError):
        if path.read_bytes() == content:
            return
    fd, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def config_text(names: Sequence[str], user: str) -> str:
    """Return the text for ``ssh_config(5)``: a block for each project.

    :param user: name of the account in the containers.
    """
    command = shutil.which("repoman")
    program = shlex.quote(os.path.abspath(command)) if command else f"{shlex.quote(sys.executable)} -P -m repoman"
    blocks = [_block(name, user, program.replace("%", "%%")) for name in names]
    return "# made by: repoman ssh-config\n" + "".join(f"\n{block}" for block in blocks)


def _block(name: str, user: str, program: str) -> str:
    alias = host_name(name)
    spellings = dict.fromkeys((f"{name}.{DOMAIN}", alias))
    return (
        f"Host {' '.join(spellings)}\n"
        f"    User {user}\n"
        f"    ProxyCommand {program} ssh-proxy {name}\n"
        f"    HostKeyAlias {alias}\n"
        f"    UserKnownHostsFile {_quoted(_known_hosts(name))}\n"
        "    GlobalKnownHostsFile /dev/null\n"
        "    StrictHostKeyChecking yes\n"
        "    UpdateHostKeys no\n"
        f"    IdentityFile {_quoted(directory() / 'id_ed25519')}\n"
        "    IdentitiesOnly yes\n"
        "    ForwardAgent no\n"
        "    ForwardX11 no\n"
        "    ForwardX11Trusted no\n"
        "    GSSAPIAuthentication no\n"
        "    GSSAPIDelegateCredentials no\n"
    )


def host_name(name: str) -> str:
    """Return the host name of a project, in lower case as ssh looks up keys."""
    return f"{name.lower()}.{DOMAIN}"


def _known_hosts(name: str) -> Path:
    return directory() / "known_hosts.d" / name


def _quoted(path: Path) -> str:
    """Return a path for ``ssh_config(5)``."""
    return f'"{path}"'.replace("%", "%%")


def run_limited(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run a program without input; return its status and what it printed.

    :raises TooMuchOutput: it printed too much, and was killed.
    """
    pipe = subprocess.PIPE
    with (
        subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as process,
        selectors.DefaultSelector() as selector,
    ):
        output = {"stdout": b"", "stderr": b""}
        for name in output:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        try:
            while selector.get_map():
                for key, _events in selector.select():
                    part = os.read(key.fd, OUTPUT_LIMIT)
                    output[key.data] += part
                    if len(output[key.data]) > OUTPUT_LIMIT:
                        raise TooMuchOutput(f"it printed more than {OUTPUT_LIMIT} bytes")
                    if not part:
                        selector.unregister(key.fileobj)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, output["stdout"], output["stderr"])


def exec_proxy(result: Mapping[str, Any]) -> NoReturn:
    """Replace this process with one that runs sshd in a running container on this process's standard streams.

    :param result: of the module ``repoman_project`` or ``repoman_project_info``.
    :raises CliError: the container has no sshd, or it cannot be prepared.
    """
    if shutil.which("incus") is None:
        raise CliError("the incus client is not installed.", "sudo apt install incus-client")
    project, account = result["projects"][0], result["account"]
    name, prefix = project["name"], shell.command_prefix(result)
    environment = shell.client_environment(os.environ, result["socket"])
    names = " ".join(name for name in project["environment"] if name not in (*shell.OWN_VARIABLES, shell.PROJECT_VARIABLE))
    prepare = ["/bin/sh", "-c", PREPARE_SCRIPT, "repoman-ssh", account["name"], public_key(), name, names]
    try:
        done = run_limited([*prefix, "-T", "--", *prepare], environment)
    except TooMuchOutput as error:
        raise _not_prepared(name, str(error)) from error
    if done.returncode == NO_SERVER:
        raise CliError(
            f"the container {name!r} has no ssh server.",
            f"repoman shell --root {name} sh -c 'apt update && apt install -y openssh-server'   # on Debian and Ubuntu",
            exit_code=NOT_FOUND,
        )
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode or len(lines) != 2:  # noqa: PLR2004 - the path and the key
        reason = "; ".join(done.stderr.decode(errors="replace").split("\n")).strip("; ") or f"exit status {done.returncode}"
        raise _not_prepared(name, reason)
    sshd, key = lines
    write_known_hosts(_known_hosts(name), f"{host_name(name)} {key}\n".encode())
    shell.replace_process([shutil.which("incus") or "incus", *prefix[1:], "-T", "--", sshd, "-i", "-e", "-f", CONFIG], environment)


def _not_prepared(name: str, reason: str) -> CliError:
    return CliError(f"the ssh server of the container {name!r} cannot be prepared: {reason}.", f"repoman shell --root {name}")
