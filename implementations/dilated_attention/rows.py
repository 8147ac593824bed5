"""Which rows the reference answers for, and how they lie in the segments of a piece."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .pattern import HeadRun, Pattern, Piece


@dataclass(frozen=True)
class SegmentRows:
    """Those of some positions that take part in a piece, laid out by segment, on the host.

    Attributes:
        segments: (J,) numbers of the segments that hold any.
        slots: (J, R) index into the positions; a segment with fewer than R repeats its first.
        relative: (J, R) which of the segment's selected positions it is, from 0.
        valid: (J, R) False for repeats.
    """

    segments: torch.Tensor
    slots: torch.Tensor
    relative: torch.Tensor
    valid: torch.Tensor

    def part(self, segments: slice, rows: slice) -> SegmentRows:
        """Some of the segments and some rows of each."""
        both = (segments, rows)
        return SegmentRows(
            self.segments[segments], self.slots[both], self.relative[both], self.valid[both]
        )


def rows_of(piece: Piece, positions: torch.Tensor) -> SegmentRows:
    """The rows of `positions` (sorted, int64) that take part in the piece.

    Worked out on the host: each count would wait for a GPU.
    """
    positions = positions.cpu()
    slots, relative = _taking_part(piece, positions)
    segment = positions[slots] // piece.segment_length
    segments, row, counts = torch.unique_consecutive(
        segment, return_inverse=True, return_counts=True
    )
    width = int(counts.max()) if len(counts) else 0
    first = counts.cumsum(0) - counts
    column = torch.arange(len(slots)) - first[row]
    layout = first[:, None].expand(-1, width).clone()
    layout[row, column] = torch.arange(len(slots))
    valid = torch.arange(width) < counts[:, None]
    return SegmentRows(segments, slots[layout], relative[layout], valid)


def takes_part(run: HeadRun, positions: torch.Tensor) -> torch.Tensor:
    """(P,) bool: which positions are in some piece of the run."""
    here = positions.cpu()
    mask = torch.zeros(len(here), dtype=torch.bool)
    for piece in run.pieces:
        mask[_taking_part(piece, here)[0]] = True
    return mask.to(positions.device)


def attends_beyond_itself(run: HeadRun, positions: torch.Tensor, causal: bool) -> torch.Tensor:
    """(P,) bool: which positions see a key other than their own; elsewhere the gradient of q is 0
    and so is noise.
    """
    mask = torch.zeros(len(positions), dtype=torch.bool, device=positions.device)
    for piece in run.pieces:
        slots, relative = _taking_part(piece, positions)
        mask[slots] |= (
            relative > 0
            if causal
            else torch.full_like(relative, piece.selected > 1, dtype=torch.bool)
        )
    return mask


def seen_by(run: HeadRun, rows: torch.Tensor, seq_len: int, causal: bool) -> torch.Tensor:
    """(seq_len,) bool: which positions are keys of at least one of the given rows (sorted
    positions).
    """
    mask = torch.zeros(seq_len, dtype=torch.bool, device=rows.device)
    for piece in run.pieces:
        laid = rows_of(piece, rows)
        if not len(laid.segments):
            continue
        keys = torch.arange(piece.selected)
        positions = key_positions(piece, laid.segments, keys)
        reach = (
            laid.relative.amax(1, keepdim=True)
            if causal
            else torch.full_like(laid.segments, piece.selected)[:, None]
        )
        mask[positions[keys <= reach].to(rows.device)] = True
    return mask


def sorted_union(*positions: torch.Tensor) -> torch.Tensor:
    """All positions that occur, once each, in order."""
    union: torch.Tensor = torch.unique_consecutive(torch.cat(positions).sort().values)
    return union


def key_positions(piece: Piece, segments: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """(J, M) positions of these selected keys (numbered within a segment) in these segments."""
    return (segments * piece.segment_length + piece.offset)[:, None] + keys * piece.rate


def sample_positions(pattern: Pattern, limit: int, seed: int, device: torch.device) -> torch.Tensor:
    """About `limit` sorted positions that reach every head.

    Half of them are first and last selected positions of segments: of all segments, or of as many,
    evenly spaced, as the limit allows, the sequence's first and last among them. The others are
    random, as many of each piece.
    """
    generator = torch.Generator().manual_seed(seed)
    share = max(2, limit // (2 * len(pattern.pieces)))
    chosen = [_edges(pattern, piece, share // 2) for piece in pattern.pieces]
    chosen += [_random(pattern, piece, share, generator) for piece in pattern.pieces]
    return sorted_union(*chosen).to(device)


def _edges(pattern: Pattern, piece: Piece, count: int) -> torch.Tensor:
    total = pattern.seq_len // piece.segment_length
    segments = torch.linspace(0, total - 1, min(total, max(2, count)), dtype=torch.float64).long()
    return key_positions(piece, segments, torch.tensor([0, piece.selected - 1])).flatten()


def _random(pattern: Pattern, piece: Piece, count: int, generator: torch.Generator) -> torch.Tensor:
    segments = torch.randint(pattern.seq_len // piece.segment_length, (count,), generator=generator)
    keys = torch.randint(piece.selected, (count, 1), generator=generator)
    return key_positions(piece, segments, keys).flatten()


def _taking_part(piece: Piece, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices of the positions that take part, and their numbers within their segments."""
    within = positions % piece.segment_length - piece.offset
    slots = ((within >= 0) & (within % piece.rate == 0)).nonzero().flatten()
    return slots, within[slots] // piece.rate
