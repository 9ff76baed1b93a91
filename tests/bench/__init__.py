# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a person waits for: whole commands as typed, beside what people would type instead."""
