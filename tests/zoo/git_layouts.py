# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kinds of git repositories: where their parts lie, what is under way in them, what other programs keep there."""

from __future__ import annotations

from zoo.kind import GIT_CHANGE, Kind

HERE = ("",)
A = ("a",)
TWO = "init .; commit 1; commit 2"
CONFLICT = (
    "init .; commit 1; git checkout -q -b other; echo other >all; git commit -qam other; echo more >>all; "
    "git commit -qam more; git checkout -q main; echo main >all; git commit -qam main"
)
SUBMODULE = "repository $OUT/sub; init .; commit 1; git submodule --quiet add $OUT/sub sub; git commit -qm sub"

LAYOUTS = [
    Kind("git-bare", "repository $OUT/w; git clone -q --bare $OUT/w .", "(cd $OUT/w; commit 3); git fetch -q $OUT/w main:main", HERE),
    Kind(
        "git-mirror", "repository $OUT/w; git clone -q --mirror $OUT/w .", "(cd $OUT/w; commit 3; git tag t); git fetch -q; git gc -q", HERE
    ),
    Kind(
        "git-bare-below",
        "repository $OUT/w; git clone -q --bare $OUT/w x/w.git; echo 1 >x/note",
        "(cd $OUT/w; commit 3); git -C x/w.git fetch -q $OUT/w main:main",
        ("x/w.git",),
        long=True,
    ),
    Kind(
        "git-two-repositories",
        "repository a; repository deep/er/b; echo 1 >note",
        "(cd a; commit 3); (cd deep/er/b; git gc -q)",
        ("a", "deep/er/b"),
    ),
    Kind(
        "git-nested",
        f"{TWO}; repository inner; repository inner/innermost",
        "(cd inner/innermost; commit 3); commit 3",
        ("", "inner", "inner/innermost"),
    ),
    Kind("git-in-git-directory", f"{TWO}; repository .git/private", "(cd .git/private; commit 3); commit 3", ("", ".git/private")),
    Kind(
        "git-file",
        "git init -q -b main --separate-git-dir=$PWD/real.git work; cd work; commit 1",
        "cd work; commit 2",
        ("work", "real.git"),
    ),  # conda-build#537
    Kind(
        "git-file-outside", "git init -q -b main --separate-git-dir=$OUT/real.git work; cd work; commit 1", "cd work; commit 2", long=True
    ),
    Kind(
        "git-is-a-link",
        f"mkdir work; cd work; {TWO}; mv .git ../real.git; ln -s ../real.git .git",
        "cd work; commit 3",
        ("work", "real.git"),
    ),  # datalad#5449
    Kind(
        "git-shallow",
        "repository $OUT/w; (cd $OUT/w; commit 3); git clone -q --depth 1 file://$OUT/w .",
        "git fetch -q --deepen 1; commit 4",
        HERE,
    ),
    Kind(
        "git-shallow-bare",
        "repository $OUT/w; (cd $OUT/w; commit 3); git clone -q --bare --depth 1 file://$OUT/w .",
        "git fetch -q --unshallow",
        HERE,
        long=True,
    ),
    Kind(
        "git-partial-clone",
        "repository $OUT/w; (cd $OUT/w; git config uploadpack.allowFilter true; git config uploadpack.allowAnySHA1InWant true); "
        "git clone -q --filter=blob:none file://$OUT/w .",
        GIT_CHANGE,
        HERE,
    ),
    Kind(
        "git-partial-clone-treeless",
        "repository $OUT/w; (cd $OUT/w; git config uploadpack.allowFilter true; git config uploadpack.allowAnySHA1InWant true); "
        "git clone -q --filter=tree:0 --no-checkout file://$OUT/w .",
        "git config a.b c; git tag t origin/HEAD",
        HERE,
        long=True,
    ),
    Kind("git-alternates", "repository a; git clone -q -s a b", "(cd b; commit 3); (cd a; commit 4; git gc -q)", ("a", "b"), paths=("a",)),
    Kind(
        "git-alternates-relative",
        "repository a; git clone -q -s a b; echo ../../../a/.git/objects >b/.git/objects/info/alternates",
        "(cd b; commit 3); (cd a; commit 4)",
        ("a", "b"),
        paths=("a",),
    ),
    Kind(
        "git-alternates-chain",
        "repository a; git clone -q -s a b; git clone -q -s b c",
        "(cd c; commit 3); (cd a; commit 4)",
        ("a", "b", "c"),
        paths=("a",),
    ),
    Kind("git-worktree", "repository a; cd a; git worktree add -q ../b", "cd b; commit 3", ("a", "b")),
    Kind(
        "git-worktree-detached",
        "repository a; cd a; git worktree add -q --detach ../b; git worktree lock --reason why ../b",
        "cd b; commit 3",
        ("a", "b"),
        long=True,
    ),
    Kind(
        "git-worktree-inside",
        f"{TWO}; git worktree add -q .worktrees/b; echo .worktrees >>.git/info/exclude",
        "cd .worktrees/b; commit 3",
        ("", ".worktrees/b"),
    ),
    Kind("git-worktree-gone", "repository a; cd a; git worktree add -q ../b; rm -rf ../b", "cd a; commit 3", A),
    Kind(
        "git-worktree-pruned", "repository a; cd a; git worktree add -q ../b", "rm -rf b; cd a; git worktree prune; commit 3", A, long=True
    ),
    Kind("git-worktree-outside", "repository a; cd a; git worktree add -q $OUT/b", "cd $OUT/b; commit 3", A),
    Kind("git-worktree-moved", "repository a; cd a; git worktree add -q ../b; mv ../b ../c", "cd a; commit 3", A),  # subfloor#750
    Kind(
        "git-worktrees-of-bare",
        "repository $OUT/w; git clone -q --bare $OUT/w .bare; echo 'gitdir: ./.bare' >.git; git worktree add -q one main; git worktree add -q -b two two",
        "cd two; commit 3",
        (".bare", "one", "two"),
    ),  # ai-jail#101
    Kind(
        "git-worktrees-in-bare",
        "repository $OUT/w; git clone -q --bare $OUT/w .; git worktree add -q feature -b feature",
        "cd feature; commit 3",
        ("", "feature"),
        long=True,
    ),
    Kind(
        "git-worktree-config",
        f"{TWO}; git config extensions.worktreeConfig true; git config --worktree core.sparseCheckout false; git worktree add -q wt",
        "cd wt; git config --worktree a.b c; commit 3",
        ("", "wt"),
        long=True,
    ),
    Kind(
        "git-worktree-rebasing",
        f"{CONFLICT}; git worktree add -q wt other; cd wt; git rebase -q main || true",
        "cd wt; git rebase --abort; commit 3",
        ("", "wt"),
        long=True,
    ),
    Kind("git-submodule", SUBMODULE, "cd sub; commit 3; cd ..; commit 3", ("", "sub")),
    Kind(
        "git-submodule-old-style",
        f"repository $OUT/sub; {TWO}; git clone -q $OUT/sub sub; git submodule --quiet add $OUT/sub sub; git commit -qm sub",
        "cd sub; commit 3",
        ("", "sub"),
    ),
    Kind(
        "git-submodule-nested",
        f"repository $OUT/deepest; (mkdir $OUT/sub; cd $OUT/sub; init .; git submodule --quiet add $OUT/deepest deepest; "
        f"git commit -qm 1); {TWO}; git submodule --quiet add $OUT/sub sub; git submodule --quiet update --init --recursive; "
        f"git commit -qm sub",
        "cd sub/deepest; commit 3",
        ("", "sub", "sub/deepest"),
    ),
    Kind("git-submodule-uninitialised", f"(cd $OUT; mkdir u; cd u; {SUBMODULE}); git clone -q $OUT/u .", GIT_CHANGE, HERE),
    Kind(
        "git-submodule-initialised",
        f"(cd $OUT; mkdir u; cd u; {SUBMODULE}); git clone -q $OUT/u .",
        "git submodule --quiet update --init; commit 3",
        HERE,
        long=True,
    ),
    Kind(
        "git-submodule-worktree",
        f"mkdir a; cd a; {SUBMODULE}; git -C sub worktree add -q ../../wt",
        "cd wt; commit 3",
        ("a", "a/sub", "wt"),
        long=True,
    ),  # gitoxide#1759
    Kind("git-submodule-removed", SUBMODULE, "git submodule --quiet deinit -f sub; git rm -q sub; git commit -qm removed", HERE, long=True),
    Kind(
        "git-link-without-submodule",
        f"{TWO}; repository inner; git add inner; git commit -qm link",
        "(cd inner; commit 3); commit 3",
        ("", "inner"),
    ),
    Kind(
        "git-and-hg",
        f"{TWO}; hg init .; printf 'syntax: glob\\n.git\\n' >.hgignore; hgcommit 3",
        "hgcommit 4; git commit -qam 4",
        HERE,
        hg=HERE,
    ),
    Kind("git-bundle", f"{TWO}; git bundle create -q ../b.bundle --all; mv ../b.bundle .", GIT_CHANGE, HERE, long=True),
    # what lies inside another work tree and merely looks like a repository is data
    Kind(
        "git-fixture-broken",
        f"{TWO}; git init -q --bare t/bad.git; echo 1111111111111111111111111111111111111111 >t/bad.git/refs/heads/main; git add -f -A; git commit -qm 1",
        "echo 2222222222222222222222222222222222222222 >t/bad.git/refs/heads/main; git commit -qam 2",
        HERE,
    ),
    Kind(
        "git-fixture-gitkeep",
        f"{TWO}; git init -q --bare t/x.git; touch t/x.git/objects/pack/.gitkeep; git add -f -A; git commit -qm 1",
        "echo x >t/x.git/objects/pack/.gitkeep; git add -f -A; git commit -qm 2",
        HERE,
    ),
    Kind(
        "git-fixture-renamed",
        f"{TWO}; repository t/real; mv t/real/.git t/real/dotgit; git add -f -A; git commit -qm 1",
        "rm t/real/dotgit/objects/[0-9a-f]*/* -f; git add -A; git commit -qm 2",
        HERE,
    ),
]

STATES = [
    Kind("git-merging", f"{CONFLICT}; git merge -q other || true", "echo r >all; git add all; git commit -qm merged", HERE),
    Kind(
        "git-merge-autostash",
        f"{CONFLICT}; git branch ff; echo dirty >file-1; git merge -q --autostash other || true",
        "git merge --abort",
        HERE,
        long=True,
    ),
    Kind(
        "git-squash",
        f"{CONFLICT}; git checkout -q -b third main~1; git merge -q --squash other",
        "git commit -qm squashed",
        HERE,
        long=True,
    ),
    Kind("git-rebasing", f"{CONFLICT}; git rebase -q other || true", "git rebase --abort; commit 3", HERE),
    Kind(
        "git-rebase-interactive",
        f"{CONFLICT}; GIT_SEQUENCE_EDITOR='sed -i s/^pick/edit/' git rebase -q -i HEAD~1 2>/dev/null",
        "commit 3; git rebase --continue >/dev/null 2>&1",
        HERE,
        long=True,
    ),
    Kind("git-rebase-apply", f"{CONFLICT}; git rebase -q --apply other >/dev/null 2>&1 || true", "git rebase --abort", HERE, long=True),
    Kind("git-cherry-picking", f"{CONFLICT}; git cherry-pick other~1 other >/dev/null 2>&1 || true", "git cherry-pick --abort", HERE),
    Kind("git-reverting", f"{CONFLICT}; commit x; git revert --no-edit HEAD~1 >/dev/null 2>&1 || true", "commit 3", HERE, long=True),
    Kind("git-am", f"{CONFLICT}; git format-patch -q -1 other -o $OUT; git am -q $OUT/*.patch 2>/dev/null || true", "git am --abort", HERE),
    Kind(
        "git-bisecting",
        "init .; for n in 1 2 3 4 5; do commit $n; done; git bisect start -q HEAD HEAD~4 >/dev/null",
        "git bisect good >/dev/null",
        HERE,
    ),
    Kind(
        "git-notes-merging",
        f"{TWO}; git notes add -m one; git notes --ref=o add -m two; git notes merge o >/dev/null 2>&1 || true",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind("git-conflicts-in-index", f"{CONFLICT}; git merge -q other || true; git rm -q --cached file-1", "echo 4 >file-4", HERE, long=True),
    Kind(
        "git-rerere",
        f"{CONFLICT}; git config rerere.enabled true; git merge -q other || true; git rerere",
        "echo r >all; git commit -qam merged",
        HERE,
    ),
    Kind("git-fetch-head", f"{TWO}; repository $OUT/o; git fetch -q $OUT/o", GIT_CHANGE, HERE, long=True),
    Kind("git-gc-log", f"{TWO}; echo warning >.git/gc.log", GIT_CHANGE, HERE, long=True),
    Kind("git-crashed-commit", f"{TWO}; printf 'half' >.git/COMMIT_EDITMSG; cp .git/index .git/next-index-77", GIT_CHANGE, HERE, long=True),
]

OTHERS = [
    Kind(
        "git-hooks",
        f"{TWO}; printf '#!/bin/sh\\ntouch $OUT/ran\\n' >.git/hooks/post-checkout; chmod 755 .git/hooks/post-checkout; ln -s ../../file-1 .git/hooks/link",
        "echo '# more' >>.git/hooks/post-checkout; commit 3",
        HERE,
    ),
    Kind(
        "git-config-includes",
        f"{TWO}; printf '[include]\\npath = ../own.config\\npath = /nonexistent\\n' >>.git/config; printf '[a]\\nb = c\\n' >own.config",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-description",
        f"{TWO}; echo 'A name' >.git/description; mkdir -p .git/branches .git/odd; echo x >.git/odd/file; echo x >.git/FILE_OF_MINE",
        "echo y >.git/description; echo y >.git/FILE_OF_MINE; commit 3",
        HERE,
    ),
    Kind(
        "git-lfs",
        f"{TWO}; mkdir -p .git/lfs/objects/ab/cd; seq 1000 >.git/lfs/objects/ab/cd/abcd; mkdir -p .git/lfs/tmp; "
        f"echo 'version https://git-lfs.github.com/spec/v1' >p.bin; "
        f"printf '*.bin filter=lfs diff=lfs merge=lfs -text\\n' >.gitattributes; commit 3",
        "seq 1001 >.git/lfs/objects/ab/cd/abce; commit 4",
        HERE,
    ),
    Kind(
        "git-annex",
        f"{TWO}; d=.git/annex/objects/aa/bb/SHA256E-s2--cc; mkdir -p $d; echo x >$d/SHA256E-s2--cc; chmod 444 $d/*; chmod 555 $d; "
        f"ln -s $d/SHA256E-s2--cc big; git add big; git commit -qm annex",
        "d=.git/annex/objects/aa/dd/SHA256E-s2--ee; mkdir -p $d; echo y >$d/SHA256E-s2--ee; chmod 444 $d/*; chmod 555 $d; "
        "ln -sfn $d/SHA256E-s2--ee big; commit 4",
        HERE,
    ),  # datalad#4491
    Kind(
        "git-crypt",
        f"{TWO}; mkdir -p .git/git-crypt/keys; printf '\\0GITCRYPTKEY' >.git/git-crypt/keys/default; "
        f"chmod 600 .git/git-crypt/keys/default; printf '\\0GITCRYPT\\0secret' >s; git add s; git commit -qm s",
        GIT_CHANGE,
        HERE,
    ),
    Kind(
        "git-jj",
        f"{TWO}; mkdir -p .jj/repo/store/extra .jj/repo/op_store/operations .jj/working_copy; "
        f"printf ../../../.git >.jj/repo/store/git_target; printf git >.jj/repo/store/type; "
        f"head -c 64 /dev/zero >.jj/repo/op_store/operations/00; printf '/*\\n' >.jj/.gitignore; "
        f"git update-ref refs/jj/keep/$(git rev-parse HEAD) HEAD; git checkout -q --detach",
        "git commit -q --allow-empty -m 3; git update-ref refs/jj/keep/$(git rev-parse HEAD) HEAD; head -c 65 /dev/zero >.jj/repo/op_store/operations/01",
        HERE,
    ),
    Kind(
        "git-svn",
        f"{TWO}; mkdir -p .git/svn/refs/remotes/trunk; printf '\\0\\0\\0\\1' >.git/svn/refs/remotes/trunk/.rev_map.uuid; "
        f"printf '[svn-remote \"svn\"]\\nreporoot = file:///x\\n' >.git/svn/.metadata; git update-ref refs/remotes/trunk HEAD",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-scalar",
        "repository $OUT/w; mkdir src; cd src; git clone -q $OUT/w .; git config core.untrackedCache true; "
        "git config index.version 4; git update-ref refs/prefetch/remotes/origin/main HEAD; git config maintenance.auto false",
        "cd src; commit 3",
        ("src",),
        long=True,
    ),
    Kind(
        "git-subtree",
        f"repository $OUT/w; {TWO}; git fetch -q $OUT/w main; git read-tree --prefix=sub/ -u FETCH_HEAD; git commit -qm subtree",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-case-collision",
        f"{TWO}; echo a >README; echo b >readme; mkdir Dir dir; echo a >Dir/f; echo b >dir/F; commit 3",
        "git mv readme ReadMe; commit 4",
        HERE,
    ),  # rclone#4854
    Kind(
        "git-latin1-names",
        f"{TWO}; echo x >\"$(printf 'caf\\351')\"; echo x >\"$(printf 'utf-\\303\\251')\"; echo x >\"$(printf 'nfd-e\\314\\201')\"; commit 3",
        GIT_CHANGE,
        HERE,
    ),
    Kind(
        "git-symlinks",
        f"{TWO}; ln -s file-1 l; ln -s /nonexistent dangling; ln -s . loop; commit 3",
        "ln -sfn file-2 l; commit 4",
        HERE,
        long=True,
    ),
    Kind(
        "git-executable-bits",
        f"{TWO}; chmod 755 all; chmod 600 file-1; commit 3",
        "chmod 644 all; chmod 400 file-2; git commit -qam 4",
        HERE,
        long=True,
    ),
    Kind(
        "git-http-alternates",
        f"{TWO}; echo http://example.org/x >.git/objects/info/http-alternates; git update-server-info",
        GIT_CHANGE,
        HERE,
        long=True,
    ),
    Kind(
        "git-push-cert",
        f"{TWO}; git config receive.denyCurrentBranch updateInstead; git config core.logAllRefUpdates always; git tag t; "
        f"git update-ref --create-reflog -m why refs/x HEAD",
        "git tag u; commit 3",
        HERE,
        long=True,
    ),
    Kind(
        "git-quarantine",
        f"{TWO}; mkdir -p .git/objects/incoming-x1/pack; : >.git/objects/incoming-x1/pack/tmp_pack_1",
        GIT_CHANGE,
        HERE,
        transient=("incoming-*",),
    ),
    Kind("git-backup-of-git", f"{TWO}; cp -a .git .git.old; cp -a .git git-backup", GIT_CHANGE, ("", "git-backup"), long=True),
]

KINDS = [*LAYOUTS, *STATES, *OTHERS]
