# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs about the backup."""

from __future__ import annotations

from repoman.cli import actions, variables
from repoman.cli.options import Argument, count, flag, names, nonempty, option
from repoman.cli.verb import Verb

BACKUP_VERBS = (
    Verb(
        "sync",
        "[NAME…] [--init [--allow-local]] [--take-over] [--full] [--verify] [--allow-shrink] [--exclude PATTERN]… [--exclude-caches] [--follow-mounts]"
        " [--jobs N] [--list-versions NAME]",
        "back up all repositories, or those named",
        examples=(
            "repoman sync --init",
            "repoman sync",
            "repoman sync --verify",
            "repoman sync isurus --check --diff",
            "repoman sync --list-versions isurus",
        ),
        arguments=(
            names("projects or directories, or (settings) for the settings of the host (default: all)"),
            flag("--init", help="make an unmarked backup_root the target"),
            flag("--allow-local", help="with --init, accept a target on the same disk"),
            flag("--take-over", help="become the owner of another host's backup"),
            flag("--full", help="compare everything with the mirrors"),
            flag("--verify", help="compare contents; change nothing"),
            flag("--allow-shrink", help="allow large deletions; see below"),
            option("--exclude", metavar="PATTERN", help="do not back up matches (.gitignore pattern)", repeatable=True),
            flag("--exclude-caches", help="skip directories with a valid CACHEDIR.TAG"),
            flag("--follow-mounts", help="also back up mounted file systems"),
            count("--jobs", metavar="N", help="repositories to work on at once"),
            option("--list-versions", metavar="NAME", help="list saved versions of a project or directory"),
            Argument(("--list-kept",), "", {"metavar": "NAME", "type": nonempty, "dest": "list_versions"}),  # the old name
        ),
        about="git fsck and hg verify accept each mirror, even if the source changes during\n"
        "the run. Replaced and removed files are kept for 30 days. Nothing changes if the\n"
        "target is missing or is the wrong one, or if a source has vanished. Each run also\n"
        "backs up your settings: registry, overrides and profile templates; with\n"
        "'(settings)' as the only NAME, nothing else. If you emptied or deleted a\n"
        "source on purpose: repoman sync NAME --allow-shrink.\n"
        "--verify exits with 1 if anything differs. sync exits with 1 if something failed\n"
        "or is damaged, and with 4 if a guard refused or another run was busy.",
        variables=variables.sync_variables,
        run=actions.run_sync,
    ),
    Verb(
        "restore",
        "NAME…|--all|--settings [--to DIR] [--from TIME] [--path P]… [--overwrite] [--objects] [--jobs N] [--non-interactive]",
        "restore repositories, files in one, or the settings",
        examples=(
            "repoman restore isurus",
            "repoman restore --all",
            "repoman restore isurus --to /tmp/isurus --from 2026-11-24",
            "repoman restore isurus --path src/main.c --overwrite",
            "repoman restore isurus --objects",
            "repoman restore --settings --all",
        ),
        arguments=(
            names("projects, or directories of repos_root"),
            flag("--all", help="restore everything that the backup has"),
            option("--to", metavar="DIR", help="restore to this directory, not in place"),
            option("--from", metavar="TIME", help="restore the version before this time"),
            option("--path", metavar="P", help="restore only this path of the repository", repeatable=True),
            flag("--overwrite", help="replace existing files; they are saved first"),
            flag("--objects", help="restore only missing or damaged objects"),
            count("--jobs", metavar="N", help="repositories to work on at once"),
            flag("--settings", help="restore registry, overrides and profile templates"),
            flag("--non-interactive", help="with --settings, apply without asking"),
        ),
        about="TIME is a time as shown by repoman sync --list-versions NAME, or 2026-11-24,\n"
        "or '2026-11-24 18:30'. Replaced files are saved next to the directory, and the\n"
        "report names the path. With several NAMEs or --all, --to DIR restores each below\n"
        "DIR, and a failure does not stop the others; run again, it goes on. Nothing\n"
        "changes if there is not enough space for all. --objects repairs git or Mercurial\n"
        "repositories from their mirrors, verifies each object, and changes nothing else.\n"
        "--settings comes first if there are NAMEs or --all, too. It shows what it replaces\n"
        "and asks; existing files are saved, in a directory before-TIME next to the\n"
        "registry. Without a terminal it applies without asking.",
        variables=variables.restore_variables,
        run=actions.run_restore,
    ),
)
