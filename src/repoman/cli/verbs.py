# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of verbs. Parser, help and completion are made from it."""

from __future__ import annotations

from repoman import completion
from repoman.cli import actions, new, variables
from repoman.cli.backup_verbs import BACKUP_VERBS
from repoman.cli.options import Argument, flag, name, names, nonempty, option
from repoman.cli.verb import Verb

HERE = (
    "Without a NAME, it is the project whose repository holds the current directory.\n"
    "A NAME may also be a path of its repository, such as . or ~/repos/isurus."
)
"""The rule for verbs that need no name."""


def power_verb(words: str, summary: str, about: str) -> Verb:
    """Return the row of a verb that starts or stops containers."""
    return Verb(
        words,
        "[NAME…|--all]",
        summary,
        examples=(f"repoman {words} isurus", f"repoman {words} --all"),
        arguments=(names(f"projects whose containers to {words}"), flag("--all", help=f"{words} all your containers")),
        about=f"{about}\n{HERE}",
        variables=variables.power_variables(words),
    )


VERBS = (
    Verb(
        "setup",
        "[--backup-root DIR] [--non-interactive]",
        "prepare this host: the Incus project and the registry",
        examples=("repoman setup", "repoman setup --backup-root /nfs/repos"),
        arguments=(
            option("--backup-root", metavar="DIR", help="write the directory of the backup to the registry"),
            flag("--non-interactive", help="apply without asking"),
            flag("--with-llm", help=""),
            flag("--without-llm", help=""),
        ),
        about="Creates the Incus project, detects the host's LAN address (br0's, or without a br0 that of\n"
        "the IPv4 default route) and writes the registry.\n"
        "If run again, it changes only what differs. It asks before it applies; an empty answer\n"
        "means yes. Without a terminal it applies without asking.",
        variables=variables.setup_variables,
        run=actions.run_setup,
    ),
    Verb(
        "new",
        "[NAME…|--all] [--repo DIR] [--clone URL] [--image IMAGE] [-p|--profile NAME]… [--no-backup] [--adopt] [--target MEMBER]",
        "create the containers of repositories",
        examples=(
            "repoman new isurus",
            "repoman new . -p claude-share",
            "repoman new isurus lamna",
            "repoman new --all",
            "repoman new --clone git@example.org:sharks/isurus.git",
            "repoman new isurus --repo isurus-project",
        ),
        arguments=(
            names("name of the project and of its container"),
            flag("--all", help="every project of the registry, and every container of yours"),
            option("--repo", metavar="DIR", help="directory of the repository in repos_root (default: the name)"),
            option("--clone", metavar="URL", help="clone the repository first, with git or hg"),
            option("--image", metavar="IMAGE", help="image of a new container, such as images:debian/13"),
            option("-p", "--profile", metavar="NAME", help="profile of the container to add to its others", repeatable=True),
            flag("--no-backup", help="leave the repository out of the backup"),
            flag("--adopt", help="take over a container without repoman's keys that mounts the repository"),
            option("--target", metavar="MEMBER", help="member of the Incus cluster for a new container"),
        ),
        about="The repository is mounted at the same path, and your account exists in the container. If the\n"
        "project has a container, it is updated to its configuration. A failure is rolled back, and stops\n"
        "none of the other projects. On a terminal, --all asks about repositories without a project.\n"
        "The clone of --clone is repos_root/NAME; without a NAME, the last part of the URL names it.\n"
        "hg+URL and git+URL name the program, if the URL does not tell.\n" + HERE,
        variables=variables.new_variables,
        run=new.run_new,
    ),
    Verb(
        "list",
        "[--git] [--all-users]",
        "show the projects and their containers",
        examples=("repoman list", "repoman list --git", "repoman list --json"),
        arguments=(
            flag("--git", help="also show branches and uncommitted changes"),
            flag("--all-users", help="also show containers that repoman made for other users"),
        ),
        about="A terminal of more than 80 columns shows more.",
        variables=variables.list_variables,
    ),
    Verb(
        "status",
        "[NAME…|--all] [--strict]",
        "show what needs you, and the state of the projects",
        examples=("repoman status", "repoman status isurus", "repoman status --all", "repoman -q status --strict || notify"),
        arguments=(
            names("projects to show in full"),
            flag("--all", help="show the host and all projects in full"),
            flag("--strict", help="exit with 1 if something needs you"),
        ),
        about="Without arguments, shows a summary, what needs you with the command that fixes it, most\n"
        "urgent first, and a line for each project. It runs nothing that a repository configures and\n"
        "uses no network. What does not fit on the screen is shown with $REPOMAN_PAGER or $PAGER, or\n"
        "else with less; if the variable is empty or 'cat', it is just printed.\n"
        "--strict counts what the summary counts; with names, only these projects and the backup.\n"
        "Changes that are not committed and partial backups do not count.",
        variables=variables.status_variables,
        run=actions.run_status,
    ),
    Verb(
        "doctor",
        "",
        "check the host, Incus, the projects and the backup",
        examples=("repoman doctor", "repoman doctor --json"),
        about="Prints one line for each check, with hints for what does not work. It works without Incus\n"
        "and without a registry, changes nothing, and uses no network. It exits with 1 if a check fails.",
    ),
    power_verb(
        "start",
        "start containers",
        "Mounts a repository again whose directory was deleted and made again, and\n"
        "corrects the configuration, as new does. It creates no container.",
    ),
    power_verb(
        "stop",
        "stop containers",
        "A container has 30 seconds to shut down; after that it is stopped by force.\nIts configuration does not change.",
    ),
    power_verb(
        "restart",
        "stop and start containers",
        "A container has 30 seconds to shut down; after that it is stopped by force.\n"
        "One that is stopped is started, as start does it. It creates no container.",
    ),
    Verb(
        "remove",
        "NAME… [--yes]",
        "delete containers; repository and backup stay",
        examples=("repoman remove isurus", "repoman remove isurus --yes"),
        arguments=(names("projects to remove", noun="project"), flag("--yes", help="do not ask")),
        about="Shows what will be deleted and what stays, and asks; an empty answer means no.",
        variables=variables.remove_variables,
        run=actions.run_remove,
    ),
    *BACKUP_VERBS,
    Verb(
        "shell",
        "[--root] [NAME] [[--] COMMAND…]",
        "open a shell, or run a command, in a container",
        examples=(
            "repoman shell",
            "repoman shell isurus",
            "repoman shell isurus git status",
            "repoman shell -- make test",
            "repoman shell --root isurus sh -c 'apt update && apt install -y gcc'",
        ),
        arguments=(
            name("project to enter; started if it is stopped", noun=""),
            flag("--root", help="as root in the container, not as your account"),
            flag("--create", help=""),
            Argument(("command",), "command to run (default: your login shell)", {"metavar": "COMMAND…", "nargs": "*"}),
        ),
        about="Everything after NAME is the command, with its options; without a NAME, what\n"
        "comes after '--'. The exit status is that of the command. If the project has no\n"
        "container, shell asks whether to create it; without a terminal it exits with 4.\n"
        + HERE
        + "\nThen the shell or command starts in the same directory.",
        variables=variables.shell_variables,
        run=actions.run_shell,
    ),
    Verb(
        "ssh-config",
        "[NAME…]",
        "print the configuration of OpenSSH for containers",
        examples=("repoman ssh-config > ~/.config/repoman/ssh_config", "repoman ssh-config isurus"),
        arguments=(names("projects to print (default: all)"),),
        about="A block for each project, for ssh, scp, rsync and editors: ssh isurus.repoman. To use it,\n"
        "write it to a file, and put this line at the top of ~/.ssh/config:\n"
        "Include ~/.config/repoman/ssh_config",
        variables=variables.ssh_config_variables,
        run=actions.print_ssh_config,
    ),
    Verb(
        "ssh-proxy",
        "NAME",
        "connect ssh to a container; ssh-config uses it",
        examples=("repoman ssh-proxy isurus",),
        arguments=(name("project to connect to; started if it is stopped"),),
        about="Runs the ssh server of the container on its standard streams, without a network. The container\n"
        "needs OpenSSH's server:\nrepoman shell --root NAME sh -c 'apt update && apt install -y openssh-server'",
        variables=variables.ssh_proxy_variables,
        run=actions.run_ssh_proxy,
    ),
    Verb(
        "completion",
        "bash|zsh|fish",
        "print the completion script of a shell",
        examples=("repoman completion fish | source", "source <(repoman completion bash)", "source <(repoman completion zsh)"),
        arguments=(
            Argument(("shell",), "the shell: bash, zsh or fish", {"metavar": "SHELL", "nargs": "?"}),
            Argument(("--names",), "", {"metavar": "KIND", "choices": completion.KINDS}),
        ),
        about="Add the line for your shell to ~/.config/fish/config.fish, to ~/.bashrc, or to ~/.zshrc after\n"
        "compinit. It completes verbs, options, and names of projects and profiles.",
        variables=variables.completion_variables,
        run=actions.print_completion,
    ),
    Verb(
        "help",
        "[VERB|--json-schema]",
        "show the help of repoman, or of a verb",
        examples=("repoman help", "repoman help profile install", "repoman help --json-schema"),
        arguments=(
            Argument(("words",), "a verb", {"metavar": "VERB", "nargs": "*"}),
            flag("--json-schema", help="print the JSON Schema of the documents of --json"),
        ),
        run=actions.print_help,
    ),
    Verb("version", "", "show the version", examples=("repoman version",), run=actions.print_version),
    Verb("profile list", "", "show the profile library", examples=("repoman profile list",)),
    Verb(
        "profile install",
        "NAME…|--all [--force]",
        "install profiles into Incus, or update them",
        examples=("repoman profile install claude-share", "repoman profile install --all"),
        arguments=(
            names("profiles of the library to install or update"),
            flag("--all", help="every profile of the library, in alphabetical order"),
            flag("--force", help="replace Incus's own profile default, too"),
        ),
        about="A file in ~/.config/repoman/profiles.d shadows the vendor file of the same name. A profile\n"
        "that others changed is saved in ~/.local/state/repoman/replaced before it is replaced.",
        variables=variables.profile_install_variables,
    ),
    Verb(
        "profile diff",
        "NAME [--vendor]",
        "show what install would change",
        examples=("repoman profile diff claude-share", "repoman profile diff claude-share --vendor"),
        arguments=(
            name("profile to compare with the installed one", noun="profile"),
            flag("--vendor", help="compare your file with the vendor file it shadows"),
        ),
        about="The exit status is 1 if they differ.",
        variables=variables.profile_diff_variables,
    ),
    Verb(
        "profile remove",
        "NAME",
        "remove a profile from Incus; its file stays",
        examples=("repoman profile remove dotfiles",),
        arguments=(name("profile to remove", noun="profile"),),
        variables=variables.profile_variables,
    ),
    Verb(
        "profile show",
        "NAME [--raw]",
        "print a profile as it would be installed",
        examples=("repoman profile show claude-share", "repoman profile show claude-share --raw"),
        arguments=(
            name("profile to print", noun="profile"),
            flag("--raw", help="print the template as written, with its variables"),
        ),
        variables=variables.profile_show_variables,
    ),
    Verb(
        "profile copy",
        "NAME [NEW]",
        "copy a template to your own, to change it",
        examples=("repoman profile copy llm-share", "repoman profile copy llm-share my-llm"),
        arguments=(
            name("profile of the library to copy", noun="profile"),
            Argument(("new_name",), "name of the copy (default: the same name)", {"metavar": "NEW", "nargs": "?", "type": nonempty}),
        ),
        about="The copy is a file in ~/.config/repoman/profiles.d. With the same name it shadows the vendor file.\n"
        "An existing file is not replaced. To use the copy: repoman profile install NAME.",
        variables=variables.profile_copy_variables,
    ),
    Verb(
        "profile edit",
        "NAME",
        "edit a template of yours in your editor",
        examples=("repoman profile edit dotfiles", "EDITOR='code --wait' repoman profile edit dotfiles"),
        arguments=(name("profile of the library to edit", noun="profile"),),
        about="Opens your file in $VISUAL or $EDITOR. A vendor template is copied first, and the copy is\n"
        "kept if you change it. The file is written only if the template is valid; then it shows what\n"
        "profile install would change.",
        variables=variables.profile_edit_variables,
        run=actions.edit_profile,
    ),
)
VERBS_BY_WORDS = {verb.words: verb for verb in VERBS}
GROUPS = {"profile": "profiles: templates that are rendered for this host and installed into Incus"}
"""Explanations of the first words of verbs with two."""
