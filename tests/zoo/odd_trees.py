# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of trees without a repository, or around one: names, types, modes, times, links, mounts."""

from __future__ import annotations

from zoo.kind import GIT_CHANGE, TREE_CHANGE, Kind

HERE = ("",)
SOCKET = "python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])'"
LONG = "$(printf 'n%.0s' $(seq 255))"

NAMES = [
    Kind("tree", "mkdir -p a/b empty; echo 1 >a/b/f; echo 2 >g", "echo 3 >a/b/f; rm g; rmdir empty"),
    Kind("tree-empty", "true"),  # duplicacy#346
    Kind("tree-empty-directories", "mkdir -p a/b/c d; echo x >f", "rmdir d; mkdir e; echo y >f"),
    Kind("names-with-a-dash", "echo 1 >-rf; mkdir ./--delete; echo 2 >./--delete/-; echo x >f", "echo 3 >-rf"),
    Kind(
        "names-not-utf8",
        'for o in 377 376 300 200; do mkdir "$(printf "d\\\\$o")"; echo x >"$(printf "d\\\\$o/f\\\\$o")"; done',
        TREE_CHANGE,
    ),
    Kind(
        "names-with-newlines",
        "echo 1 >\"$(printf 'a\\nb')\"; mkdir \"$(printf 'd\\n\\n.')\"; echo 2 >\"$(printf 'd\\n\\n./\\tf\\r')\"",
        TREE_CHANGE,
    ),
    Kind(
        "names-with-escapes",
        "echo 1 >\"$(printf '\\033[31mred\\033[0m\\007')\"; echo 2 >\"$(printf '\\302\\233')\"; echo 3 >\"$(printf '\\342\\200\\256txt')\"",
        TREE_CHANGE,
    ),
    Kind(
        "names-with-patterns",
        "echo 1 >'*'; mkdir '[a-z]' '?' '{a,b}'; echo 2 >'[a-z]/**'; echo 3 >'!x'; echo 4 >'#y'; echo 5 >'~'; echo 6 >'$HOME'",
        "rm '*'; echo 3 >'?/z'",
    ),  # organization_folders#114
    Kind("names-of-blanks", "echo 1 >' '; echo 2 >'a '; mkdir '  '; echo 3 >'  /.. .'; echo 4 >...", TREE_CHANGE, long=True),
    Kind("names-with-quotes", "echo 1 >\"'\"; echo 2 >'\"'; echo 3 >'a\\b'; echo 4 >'`id`'; echo 5 >'$(id)'", TREE_CHANGE, long=True),
    Kind(
        "names-of-255-bytes",
        f"echo 1 >{LONG}; mkdir d{LONG.replace('255', '254')}; echo 2 >d{LONG.replace('255', '254')}/{LONG}",
        f"echo 3 >{LONG}",
    ),  # syncthing#1786, syncthing#767
    Kind(
        "names-of-233-bytes",
        "for n in 233 240 243 250; do echo 1 >$(printf 'n%.0s' $(seq $n)); done",
        "for n in 233 240 243 250; do echo 2 >$(printf 'n%.0s' $(seq $n)); done",
        long=True,
    ),  # syncthing#2393
    Kind(
        "names-of-repoman",
        "mkdir .repoman kept work; echo 1 >.repoman/mirror.toml; echo 2 >.repoman-partial; echo 3 >f.before-20260101T000000Z",
        TREE_CHANGE,
    ),
    Kind(
        "names-like-repositories",
        "mkdir .git .hg; echo x >HEAD; mkdir objects refs; echo x >f",
        TREE_CHANGE,
    ),
    Kind(
        "names-like-repositories-below",
        "mkdir -p x/objects/models x/refs/papers; echo x >x/HEAD; echo 1 >x/objects/models/a; echo 2 >x/refs/papers/b; echo 3 >x/objects/tmp_obj_1",
        "rm -r x/objects; echo 3 >x/HEAD.lock",
    ),
    Kind("names-in-two-forms", "echo 1 >\"$(printf 'e\\314\\201')\"; echo 2 >\"$(printf '\\303\\251')\"", TREE_CHANGE, long=True),
    Kind("names-of-devices", "echo 1 >CON; echo 2 >aux.txt; echo 3 >'a:b'; echo 4 >'x|y<z>'", TREE_CHANGE, long=True),
]

SHAPES = [
    Kind("deep", "p=.; for n in $(seq 150); do p=$p/d$n; done; mkdir -p $p; echo x >$p/f", "mkdir -p d1/x; echo y >d1/x/y", long=True),
    Kind(
        "very-deep",  # rsync 3.5 gives up beyond 1024 levels
        'python3 -c \'\nimport os\nfor n in range(1020):\n    os.mkdir("d"); os.chdir("d")\nopen("f", "w").write("x")\'',
        TREE_CHANGE,
        paths=("changed",),
        long=True,
    ),
    Kind("wide", "mkdir w; cd w; seq 3000 | xargs touch", "cd w; rm 7 8 9; echo x >10"),
    Kind(
        "becomes-a-directory",
        "echo 1 >a; mkdir b; echo 2 >b/f; ln -s a c",
        "rm a; mkdir a; echo 1 >a/f; rm -r b; echo 2 >b; rm c; mkdir c; echo 3 >c/f",
    ),
    Kind("becomes-a-link", "mkdir a b; echo 1 >a/f; echo 2 >b/f; echo 3 >c", "rm -r a; ln -s b a; rm c; ln -s b/f c"),  # rsync#603
    Kind("becomes-a-pipe", "echo 1 >a; mkdir b", "rm a; mkfifo a; rmdir b; mkfifo b", long=True),
    Kind("moved-within", "mkdir -p a/b/c d; echo 1 >a/b/c/f; echo 2 >a/g", "mv a/b d/b; mv a/g d/h", long=True),
    Kind("case-of-a-name-changes", "mkdir Dir; echo 1 >Dir/File", "mv Dir/File Dir/file; mv Dir dir", long=True),  # rclone#2773
    Kind("same-size-and-time", "echo 1 >f; touch -d @1700000000 f", "sleep 0.02; echo 2 >f; touch -d @1700000000 f"),
]

LINKS = [
    Kind(
        "links",
        "echo 1 >f; ln -s f l; ln -s /etc/hostname abs; ln -s nowhere dangling; ln -s ../../.. up; ln -s '' e 2>/dev/null || true",
        "ln -sfn nowhere l; rm abs",
    ),  # rclone#1152
    Kind("link-loops", "ln -s loop loop; ln -s b a; ln -s a b; mkdir d; ln -s .. d/parent", TREE_CHANGE),
    Kind("link-of-4095-bytes", "ln -s $(printf 'x%.0s' $(seq 4095)) l; echo 1 >f", TREE_CHANGE, long=True),
    Kind("link-times", "ln -s nowhere l; touch -h -d '2001-02-03 04:05:06.789' l", "touch -h -d 2002-02-03 l", long=True),  # kopia#4445
    Kind("hard-links", "mkdir a b; echo 1 >a/f; ln a/f b/f; ln a/f g", "echo 2 >>a/f; ln a/f b/h; rm g"),  # borg#5603, rsync#126
    Kind("hard-links-taken-apart", "echo 1 >a; ln a b; ln a c", "rm b; echo 2 >b; rm c", long=True),
    Kind("hard-links-300", "echo 1 >f; for n in $(seq 300); do ln f l$n; done", "rm l7; ln f m7", long=True),  # rsync#741, rsbackup#85
    Kind("hard-links-of-links", "ln -s nowhere l; ln l m; mkfifo p; ln p q", TREE_CHANGE),  # borg#2324
    Kind("hard-links-across-units", "echo 1 >f; ln f $OUT/f", TREE_CHANGE, long=True),  # borg#4535
    Kind("hard-links-by-path", "mkdir a b; echo 1 >a/f; ln a/f b/f", "echo 2 >b/g", paths=("b",)),  # borg#761
]

TYPES = [
    Kind("pipes", "mkfifo p; chmod 600 p; echo 1 >f", "mkfifo q; rm p"),
    Kind("sockets", f"{SOCKET} s; mkdir d; {SOCKET} d/s; echo 1 >d/z", "echo 2 >d/z"),  # restic#1730, restic#82, attic#259, snapper#184
    Kind("devices", "mknod n c 1 3; mknod b b 7 99; echo 1 >f", TREE_CHANGE, root=True),  # borg#2324
    Kind(
        "sparse",
        "truncate -s 50M hole; printf x | dd of=hole bs=1 seek=20M conv=notrunc status=none; truncate -s 1M empty",
        "printf y | dd of=hole bs=1 seek=40M conv=notrunc status=none",
    ),  # borg#4886
    Kind(
        "sparse-8-gigabytes",
        "truncate -s 8G hole; printf x | dd of=hole bs=1 seek=4G conv=notrunc status=none",
        "touch hole",
        long=True,
    ),
    Kind("preallocated", "fallocate -l 1M f; echo 1 >g", TREE_CHANGE, long=True),
    Kind("shrinks", "seq 10000 >f; seq 20000 >g", ": >f; seq 10 >g", long=True),
    Kind(
        "cache-directory",
        "mkdir cache; printf 'Signature: 8a477f597d28d172789f06886806bc55\\n' >cache/CACHEDIR.TAG; echo 1 >cache/f",
        "echo 2 >cache/f",
    ),  # restic#317, restic#2722
    Kind(
        "core-dumps-and-editors", "touch core .f.swp '#f#' f~ .nfs0001 .#lock; ln -s me@host.1:2 '.#f'; echo 1 >f", TREE_CHANGE, long=True
    ),
]

MODES = [
    Kind(
        "modes",
        "echo 1 >a; chmod 0 a; echo 2 >b; chmod 777 b; mkdir c; echo 3 >c/f; chmod 711 c; mkdir t; chmod 1777 t",
        "chmod 644 a; chmod 700 c",
        root=True,
    ),
    Kind(
        "read-only-directories",
        "mkdir -p a/b; echo 1 >a/b/f; chmod 444 a/b/f; chmod 555 a/b a",
        "chmod 755 a/b; rm -f a/b/f; echo 2 >a/b/g; chmod 555 a/b",
    ),  # restic#656, restic#4757
    Kind("read-only-unit", "mkdir a; echo 1 >a/f; chmod 555 a .", "chmod 755 . a; echo 2 >a/f; chmod 555 . a", root=True, long=True),
    Kind("setgid-directories", "mkdir a; chmod 2775 a; mkdir a/b; echo 1 >a/b/f", "mkdir a/c; chmod 2770 a/c"),
    Kind("set-user-id", "echo 1 >f; chmod 4755 f; echo 2 >g; chmod 2755 g", "echo 3 >f; chmod 4711 f"),
    Kind(
        "directory-modes-below",
        "mkdir -p a/b/c; echo 1 >a/b/c/f; chmod 700 a/b/c; chmod 750 a/b; chmod 711 a",
        "echo 2 >a/b/c/f",
        paths=("a/b/c/f",),
    ),  # restic#1212, restic#1402
    Kind(
        "owners",
        "mkdir a; echo 1 >a/f; chown 1234:4321 a/f; chown 65534:65534 a; ln -s x l; chown -h 77:88 l",
        "chown 99:99 a/f; echo 2 >a/f",
        root=True,
    ),
    Kind(
        "times",
        "echo 1 >old; touch -d @-1 old; echo 2 >older; touch -d @-2000000000 older; echo 3 >future; touch -d 2199-01-01 future; "
        "echo 4 >ns; touch -d @1700000000.123456789 ns; mkdir d; touch -d @0 d",
        "echo 2 >old; touch -d @-5.5 old; touch -d 2001-01-01 d",
    ),  # borg#3729, borg#2305, restic#2174
    Kind(
        "directory-times",
        "mkdir -p a/b; echo 1 >a/b/f; touch -d 2001-01-01 a/b a",
        "echo 2 >a/b/f; touch -d 2002-01-01 a/b; touch -d 2003-01-01 a",
        long=True,
    ),  # kopia#2058
    Kind("only-attributes-change", "mkdir d; echo 1 >f; echo 2 >d/g", "chmod 600 f; touch -d 2001-01-01 d/g; chmod 700 d"),
]

REPOSITORIES_IN_ODD_TREES = [
    Kind("git-named-with-a-dash", "repository ./-a", "cd ./-a; commit 3", ("./-a",)),
    Kind("git-named-in-latin1", "repository \"$(printf 'caf\\351')\"", "cd \"$(printf 'caf\\351')\"; commit 3", long=True),
    Kind("git-with-a-newline", "repository \"$(printf 'a\\nb')\"", "cd \"$(printf 'a\\nb')\"; commit 3", long=True),
    Kind(
        "git-deep", "p=$(printf 'd/%.0s' $(seq 50)); mkdir -p $p; repository $p/r", "cd $(printf 'd/%.0s' $(seq 50))/r; commit 3", long=True
    ),
    Kind("git-in-read-only-directory", "repository a; chmod 555 a", "chmod 755 a; (cd a; commit 3); chmod 555 a", ("a",), long=True),
    Kind(
        "git-with-pipes",
        "init .; commit 1; mkfifo .git/pipe p; mkdir -p .git/refs/heads; mkfifo .git/hooks/pipe",
        GIT_CHANGE.replace("changed", "3 2>/dev/null"),
        HERE,
    ),
    Kind(
        "mount-inside",
        "init .; commit 1; mkdir data; mount -t tmpfs tmpfs data; echo precious >data/p",
        "echo x >>all",
        HERE,
        root=True,
        left_out="data",
        paths=("all",),
    ),
]

KINDS = [*NAMES, *SHAPES, *LINKS, *TYPES, *MODES, *REPOSITORIES_IN_ODD_TREES]
