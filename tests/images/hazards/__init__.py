# SPDX-License-Identifier: MIT
"""The hazards, a module for each part of the format."""
