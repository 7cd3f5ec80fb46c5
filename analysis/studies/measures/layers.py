"""What every block does: norms, cosines with the image's feature, entropy of the attention, same-region mass.

Source: see `analysis.norms` and `analysis.affinity`.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from analysis.patterns import walk_tiles
from analysis.studies.batch import Batch, Targets
from analysis.studies.measure import Measure, Needs, Rows, register
from surgery import Trace

MASS_KINDS = ("qk", "vv")
SIDES = ("foreground", "background")


@register
class Layers(Measure):
    """One row a pair of image and region; an image without any has one row, over all patches.

    Columns: `norm.STREAM.GROUP.BLOCK`, `cosine.STREAM.GROUP.BLOCK` for the streams residual, attention and mlp (block L
    of the residual is the output) and the groups cls, patches, foreground and background;
    `entropy.GROUP.BLOCK.hHEAD` and `mass.KIND.SIDE.BLOCK.hHEAD`.
    """

    name = "layers"
    about = "norms, cosines with CLS, entropies, same-region mass of every block and head"
    keys = ()
    needs = Needs(blocks="all")

    def measure(self, batch: Batch) -> Rows:
        pairs = _Pairs(batch)
        columns = dict(_stream_columns(batch, pairs))
        columns |= dict(_attention_columns(batch, pairs))
        return {"index": pairs.index, "text": pairs.names, **columns}


class _Pairs:
    """The rows: pairs with a region, and images without any.

    Attributes:
        index: (rows,) number of the image; names: its text, None without region.
        image: (rows,) int64, of the image in the batch.
        weights: (rows, 3, gh * gw) of the mean over patches, foreground and background; NaN where there is none.
    """

    def __init__(self, batch: Batch) -> None:
        targets: Targets = batch.targets
        kept = [k for k, id in enumerate(targets.ids.tolist()) if id >= 0]
        places = [place for place, item in enumerate(batch.items) for _ in item.targets]
        bare = sorted(set(range(len(batch.items))) - {places[k] for k in kept})
        self.index = np.concatenate([targets.index[kept], batch.indices[bare]])
        self.names: list[str | None] = [*(targets.names[k] for k in kept), *([None] * len(bare))]
        self._places = [*(places[k] for k in kept), *bare]
        self.image = torch.tensor(self._places, device=batch.pixels.device)
        sides = [getattr(targets, side)[kept].to(batch.text if len(batch.texts) else torch.float32) for side in SIDES]
        none = sides[0].new_zeros(len(bare), sides[0].shape[1])
        members = torch.stack([torch.cat([side, none]) for side in sides], dim=1)  # (rows, 2, n)
        everywhere = torch.full_like(members[:, :1], 1 / members.shape[-1])
        self.members = members
        self.weights = torch.cat([everywhere, members / members.sum(dim=-1, keepdim=True)], dim=1)

    def padded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Members of the regions of every image (b, r, 2, gh * gw), and the place (rows,) of each row among them."""
        places = [self._places[:row].count(image) for row, image in enumerate(self._places)]
        padded = self.members.new_zeros(len(batch.items), max(places, default=0) + 1, 2, self.members.shape[-1])
        place = torch.tensor(places, device=self.image.device)
        padded[self.image, place] = self.members
        return padded, place

    def groups(self, values: Tensor, prefix: int) -> Iterator[tuple[str, Tensor]]:
        """Values of the tokens (..., b, tokens) -> name of the group and its means (..., rows)."""
        own = values[..., self.image, :]
        if prefix:
            yield "cls", own[..., 0]
        means = torch.einsum("rgn,...rn->g...r", self.weights.to(own), own[..., prefix:])
        yield from zip(("patches", *SIDES), means, strict=True)


def _stream_columns(batch: Batch, pairs: _Pairs) -> Iterator[tuple[str, Tensor]]:
    trace, tower = batch.trace, batch.model.tower
    target = F.normalize(batch.original.cls, dim=-1)[:, :, None]  # (b, d, 1)
    streams: dict[str, list[Tensor]] = {"residual": [trace.stream(l) for l in range(trace.depth + 1)]}
    records = [trace.block(l) for l in range(trace.depth)]
    streams["attention"] = [record.attn_out for record in records]
    streams["mlp"] = [record.mlp_out for record in records if record.mlp_out is not None]
    for stream, parts in streams.items():
        if not parts or (stream == "residual" and not tower.has_residual):
            continue
        norms = torch.stack([torch.linalg.vector_norm(x.float(), dim=-1) for x in parts])  # (blocks, b, tokens)
        read = batch.residual_readouts if stream == "residual" else (tower.readout(x).to(target) for x in parts)
        cosines = torch.stack([(z @ target)[..., 0] / torch.linalg.vector_norm(z, dim=-1) for z in read])
        for quantity, values in (("norm", norms), ("cosine", cosines)):
            for group, means in pairs.groups(values, tower.prefix):
                yield from ((f"{quantity}.{stream}.{group}.{l}", row) for l, row in enumerate(means))


def _attention_columns(batch: Batch, pairs: _Pairs) -> Iterator[tuple[str, Tensor]]:
    """Entropy of the model's own attention, and the weight on patches that stays inside the query's own region."""
    prefix, (keys, place) = batch.model.tower.prefix, pairs.padded(batch)
    for kind in MASS_KINDS:
        mass, entropy = _sweep(batch.trace, kind, keys, prefix, entropy=kind == "qk")
        if entropy is not None:
            for group, means in pairs.groups(entropy.movedim(1, 2), prefix):  # (blocks, heads, b, tokens)
                yield from _head_columns(f"entropy.{group}", means)
        rows = mass.movedim(2, 1)[:, :, pairs.image, place]  # (blocks, heads, rows, 2)
        for column, side in enumerate(SIDES):
            yield from _head_columns(f"mass.{kind}.{side}", rows[..., column])


def _sweep(trace: Trace, kind: str, members: Tensor, prefix: int, *, entropy: bool) -> tuple[Tensor, Tensor | None]:
    """One walk over the patterns of a kind: mass (blocks, b, heads, r, 2) and entropy (blocks, b, heads, tokens).

    Args:
        members: padded regions of every image, (b, r, 2, gh * gw).
    """
    masses, entropies = [], []
    for block in range(trace.depth):
        heads, tokens = trace.block(block).v.shape[1:3]
        for image, regions in enumerate(members):
            own = F.pad(regions.flatten(0, 1), (prefix, 0)).to(members.device, torch.float32)  # (r * 2, tokens)
            received = own.new_zeros(heads, *own.shape)
            of_tokens = torch.empty(heads, tokens, dtype=torch.float64)
            for tile in walk_tiles(trace, kind, block, image, scores=entropy):
                received[tile.heads] += (own[:, tile.rows] / tile.total[:, None]) @ tile.weights
                if entropy:
                    of_tokens[tile.heads, tile.rows] = tile.entropy()
            mass = (received * own).sum(dim=-1) / received[..., prefix:].sum(dim=-1)
            masses.append(mass.unflatten(-1, (-1, 2)))
            entropies.append(of_tokens)
    shape = (trace.depth, len(members))
    return torch.stack(masses).unflatten(0, shape), torch.stack(entropies).unflatten(0, shape) if entropy else None


def _head_columns(name: str, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """(blocks, heads, rows) -> one column a block and head."""
    for block, heads in enumerate(values):
        yield from ((f"{name}.{block}.h{head}", row) for head, row in enumerate(heads))
