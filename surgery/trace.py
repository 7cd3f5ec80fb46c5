"""One ordinary forward pass, recorded: everything that any method, ablation or measurement starts from.

    a_l = Attn_l(ln_1(x_{l-1}))    u_l = x_{l-1} + a_l    m_l = MLP_l(ln_2(u_l))    x_l = u_l + m_l

The pass calls the model's own modules and leaves them as they are; threads may record on one model at the same time.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from surgery.attention import Projections, attend
from surgery.blocks import Block
from surgery.towers import Tower

OnBlock = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BlockTrace:
    """What one block did.

    Attributes:
        x: (b, tokens, w) residual stream that enters the block, x_{l-1}.
        projections: q, k, v of the block, each (b, heads, tokens, head width).
        attn_out: (b, tokens, w) attention output a_l.
        mlp_out: (b, tokens, w) MLP output m_l; None in the attention pool of a ResNet.
        edited: whether an intervention replaced `attn_out`, which then is not what q, k and v give.
        heads_out: (b, heads, tokens, head width) what the heads gave; None unless asked for.
    """

    x: Tensor
    projections: Projections
    attn_out: Tensor
    mlp_out: Tensor | None
    edited: bool = False
    heads_out: Tensor | None = None

    @property
    def q(self) -> Tensor:
        return self.projections.q

    @property
    def k(self) -> Tensor:
        return self.projections.k

    @property
    def v(self) -> Tensor:
        return self.projections.v

    def to(self, device: torch.device | str) -> "BlockTrace":
        """The same record on another device."""
        if self.x.device == torch.device(device):
            return self
        p = self.projections
        norm = None if p.input_norm is None else p.input_norm.to(device)
        moved = replace(p, q=p.q.to(device), k=p.k.to(device), v=p.v.to(device), input_norm=norm)
        mlp_out = None if self.mlp_out is None else self.mlp_out.to(device)
        heads_out = None if self.heads_out is None else self.heads_out.to(device)
        return BlockTrace(self.x.to(device), moved, self.attn_out.to(device), mlp_out, self.edited, heads_out)


Edit = Callable[[BlockTrace], BlockTrace]
"""What an intervention makes of a block that has run; the network goes on from what it returns."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded pass of the image tower, blocks counted from 0.

    Attributes:
        tower: the tower that ran.
        model: name of the model.
        records: one `BlockTrace` per block, None where it was not kept; read them through `block`.
        output: (b, tokens, w) residual stream after the last block, x_L.
        grid: rows and columns of patches.
        position_interpolation: how the position embedding was brought to `grid`.
    """

    tower: Tower
    model: str
    records: tuple[BlockTrace | None, ...]
    output: Tensor
    grid: tuple[int, int]
    position_interpolation: str

    @property
    def depth(self) -> int:
        """Number of blocks L."""
        return len(self.records)

    @property
    def device(self) -> torch.device:
        """Where the model is and where results are computed."""
        return self.output.device

    @property
    def nbytes(self) -> int:
        """Memory of all tensors that the records hold."""
        kept = [record for record in self.records if record is not None]
        tensors = [t for r in kept for t in (r.x, r.q, r.k, r.v, r.attn_out, r.mlp_out, r.heads_out)]
        return self.output.nbytes + sum(tensor.nbytes for tensor in tensors if tensor is not None)

    def block(self, index: int) -> BlockTrace:
        """The record of block `index` (0 .. L-1; negative counts from the end), on the model's device.

        Raises:
            ValueError: there is no such block, or it was not kept.
        """
        if not -self.depth <= index < self.depth:
            raise ValueError(f"Expected block to be from 0 to {self.depth - 1}, but got {index}")
        record = self.records[index]
        if record is None:
            kept = [i for i, r in enumerate(self.records) if r is not None]
            raise ValueError(
                f"Expected block {index} to be kept by this trace, but got only {kept}; see trace(keep=...)"
            )
        return record.to(self.device)

    def stream(self, index: int) -> Tensor:
        """The residual stream x_index: x_0 is the embedding, x_L the output; (b, tokens, w)."""
        return self.output if index == self.depth else self.block(index).x

    def behind(self, block: int) -> int:
        """Which stream leaves a block counted from the end: L behind block -1."""
        return self.depth + block + 1


@torch.inference_mode()
def record(
    tower: Tower,
    pixels: Tensor,
    *,
    model: str = "",
    position_interpolation: str = "bicubic",
    keep: int | Collection[int] | None = None,
    store: torch.device | str | None = None,
    on_block: OnBlock | None = None,
    heads: bool = False,
) -> Trace:
    """Runs the tower once and keeps what each block did.

    Args:
        tower: see `surgery.towers.build_tower`.
        pixels: (b, 3, H, W), normalised; H and W multiples of the patch.
        model: name that the trace carries.
        position_interpolation: "bicubic", "bilinear", "bicubic_antialias" or "bicubic_size"; no matter at the native
            size.
        keep: None for every block, a number n for the last n, or the indices of the blocks to keep.
        store: device of the kept records, None for the device of the model. `Trace.block` brings them back.
        on_block: called before each block with its index and the depth; what it raises ends the pass there.
        heads: keep what the heads gave as well, which blame would compute again.

    Returns:
        The trace. A ViT-B/16 at 224 px holds 43 MB per image in float32.

    Raises:
        ValueError: size not a multiple of the patch, unknown interpolation, no such block.
    """
    grid = tower.grid_of(pixels)
    kept = _kept_blocks(keep, len(tower.blocks))
    x = tower.embed(pixels, grid, position_interpolation)
    records, output = _run(tower, x, 0, grid, kept, store, on_block, heads=heads)
    return Trace(tower, model, records, output, grid, position_interpolation)


def _kept_blocks(keep: int | Collection[int] | None, depth: int) -> set[int]:
    if keep is None:
        return set(range(depth))
    if isinstance(keep, int):
        if not 0 <= keep <= depth:
            raise ValueError(f"Expected keep to be from 0 to {depth} blocks, but got {keep}")
        return set(range(depth - keep, depth))
    wrong = [i for i in keep if i not in range(depth)]
    if wrong:
        raise ValueError(f"Expected keep to name blocks from 0 to {depth - 1}, but got {wrong}")
    return set(keep)


def _run(
    tower: Tower,
    x: Tensor,
    first: int,
    grid: tuple[int, int],
    kept: set[int],
    store: torch.device | str | None,
    on_block: OnBlock | None = None,
    edits: Mapping[int, Edit] | None = None,
    heads: bool = False,
) -> tuple[tuple[BlockTrace | None, ...], Tensor]:
    """Blocks first .. L-1 from the stream x; their records (None where not kept) and x_L."""
    records: list[BlockTrace | None] = []
    for index, block in enumerate(tower.blocks[first:], start=first):
        if on_block is not None:
            on_block(index, len(tower.blocks))
        done = run_block(block, x, grid, tower.prefix, heads)
        done = edits[index](done) if edits and index in edits else done
        x = leave_block(tower, done)
        records.append((done if store is None else done.to(store)) if index in kept else None)
    return tuple(records), x


def run_block(block: Block, x: Tensor, grid: tuple[int, int], prefix: int, heads: bool = False) -> BlockTrace:
    """One block on the stream x (b, tokens, w)."""
    projections = block.project(x, grid, prefix)
    heads_out = attend("qk", projections)
    attn_out = block.merge(heads_out)
    mlp_out = None if block.mlp is None else block.mlp_out(x + attn_out)
    return BlockTrace(x, projections, attn_out, mlp_out, heads_out=heads_out if heads else None)


def leave_block(tower: Tower, done: BlockTrace) -> Tensor:
    """The stream after the block: x + a + m, or a alone in a tower without residual."""
    if not tower.has_residual:
        return done.attn_out
    return done.x + done.attn_out if done.mlp_out is None else done.x + done.attn_out + done.mlp_out


@torch.inference_mode()
def rerun(trace: Trace, block: int, *, attn_out: Tensor | None = None, mlp_out: Tensor | None = None) -> Trace:
    """An intervention: replaces what one block wrote and re-runs the network from there on only.

    Args:
        trace: a recorded pass; the block and everything before it are shared with the result.
        block: index of the block whose output is replaced.
        attn_out: (b, tokens, w) in place of a_l; the MLP of the block sees the change. None keeps a_l.
        mlp_out: (b, tokens, w) in place of m_l. None keeps it, or recomputes it after a new `attn_out`.

    Returns:
        The trace of the changed path. q, k and v of `block` are those of its unchanged input.

    Raises:
        ValueError: the block was not kept, or has no MLP to replace.
    """
    trace.block(block)  # refuses a block that is not there
    index = block % trace.depth
    module = trace.tower.blocks[index]
    if mlp_out is not None and module.mlp is None:
        raise ValueError(f"Expected a block with an MLP, but got block {index} of {trace.model or 'this tower'}")

    def write(old: BlockTrace) -> BlockTrace:
        attended = old if attn_out is None else write_attention(module, old, attn_out)
        return attended if mlp_out is None else replace(attended, mlp_out=mlp_out)

    return rerun_edited(trace, {index: write})


def write_attention(block: Block, done: BlockTrace, attn_out: Tensor) -> BlockTrace:
    """The record of a block with another attention output (b, tokens, w), which its MLP sees."""
    mlp_out = None if block.mlp is None else block.mlp_out(done.x + attn_out)
    return replace(done, attn_out=attn_out, mlp_out=mlp_out, edited=True)


@torch.inference_mode()
def rerun_edited(trace: Trace, edits: Mapping[int, Edit]) -> Trace:
    """Interventions in several blocks at once, in one run from the first of them on.

    Args:
        trace: a recorded pass; what comes before the first edit is shared with the result.
        edits: index of a block -> what becomes of its record. Every edit but the first sees what its block makes of the
            input that the edits before it have changed. Edits of the trace itself in later blocks are not kept.

    Raises:
        ValueError: no edit, or the first block was not kept.
    """
    if not edits:
        raise ValueError("Expected at least one block to be edited, but got none")
    first = min(edits)
    changed = edits[first](trace.block(first))
    start = leave_block(trace.tower, changed)
    records, output = _run(trace.tower, start, first + 1, trace.grid, set(range(trace.depth)), None, edits=edits)
    return replace(trace, records=(*trace.records[:first], changed, *records), output=output)
