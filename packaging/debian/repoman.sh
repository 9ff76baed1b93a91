#!/bin/sh
# repoman of the Debian package: its own ansible-core, and the vendor profiles of the package.
export REPOMAN_VENDOR_DIR="${REPOMAN_VENDOR_DIR:-/usr/share/repoman/profiles}"
exec /usr/lib/repoman/bin/python -s -P -m repoman "$@"
