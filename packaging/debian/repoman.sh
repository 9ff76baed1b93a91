#!/bin/sh
# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# repoman of the Debian package: its own ansible-core, and the vendor profiles of the package.
export REPOMAN_VENDOR_DIR="${REPOMAN_VENDOR_DIR:-/usr/share/repoman/profiles}"
exec /usr/lib/repoman/bin/python -s -P -m repoman "$@"
