# SPDX-License-Identifier: MIT
"""Damaged images, one module a part of the format."""
