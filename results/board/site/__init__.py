"""The leaderboard as a static site, which works from disk and asks no other machine for anything."""

from __future__ import annotations

from elboard.results.board.site.build import Report, build
from elboard.results.board.site.serve import serve
