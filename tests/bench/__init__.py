# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person waits for: whole commands as typed, each in pairs with its alternative, which people would type instead."""
