"""Independent, slow explainers of open_clip ViTs: one image, one text, one head and one backward pass at a time."""

import torch
import torch.nn.functional as F


def forward(clip, pixels, one_head_blocks=0):
    """Everything of a pass as tensors of one graph; `one_head_blocks` last blocks attend with a single head."""
    visual = clip.visual
    blocks = visual.transformer.resblocks
    x = visual._embeds(pixels.clone().requires_grad_())
    kept = {"x": [x], "y": [], "A": [], "o": [], "q": [], "k": [], "v": []}
    for index, block in enumerate(blocks):
        one_head = index >= len(blocks) - one_head_blocks
        heads = 1 if one_head else block.attn.num_heads
        y = block.ln_1(x)
        q, k, v = F.linear(y, block.attn.in_proj_weight, block.attn.in_proj_bias)[0].chunk(3, dim=-1)  # (n, w) each
        d = q.shape[-1] // heads
        patterns = [
            torch.softmax(q[:, h * d : h * d + d] @ k[:, h * d : h * d + d].T / d**0.5, dim=-1) for h in range(heads)
        ]
        A = torch.stack(patterns)  # (heads, n, n)
        o = torch.cat([A[h] @ v[:, h * d : h * d + d] for h in range(heads)], dim=-1)[None]  # (1, n, w)
        x = x + block.ls_1(F.linear(o, block.attn.out_proj.weight, block.attn.out_proj.bias))
        x = x + block.ls_2(block.mlp(block.ln_2(x)))
        for name, value in (("x", x), ("y", y), ("A", A), ("o", o), ("q", q), ("k", k), ("v", v)):
            kept[name].append(value)
    kept["feature"] = (visual.ln_post(x[:, 0]) @ visual.proj)[0]
    return kept


def cosine(feature, text):
    return feature @ text / feature.norm() / text.norm()


def chefer(clip, pixels, text, first):
    run = forward(clip, pixels)
    n = run["A"][0].shape[-1]
    R = torch.eye(n, dtype=pixels.dtype)
    gradients = torch.autograd.grad(100 * cosine(run["feature"], text), run["A"], retain_graph=True)
    for A, gradient in list(zip(run["A"], gradients, strict=True))[first:]:
        R = R + (gradient * A).clamp(min=0).mean(dim=0) @ R
    return R[0, 1:].detach()


def rollout(clip, pixels, text):
    R = None
    for A in forward(clip, pixels)["A"]:
        step = A.mean(dim=0) + torch.eye(A.shape[-1], dtype=A.dtype)
        step = step / step.sum(dim=-1, keepdim=True)
        R = step if R is None else step @ R
    return R[0, 1:].detach()


def grad_eclip(clip, pixels, text, one_head):
    run = forward(clip, pixels, one_head_blocks=int(one_head))
    (gradient,) = torch.autograd.grad(cosine(run["feature"], text), run["o"][-1])
    q, k, v = (run[name][-1] for name in "qkv")
    lam = torch.stack([F.cosine_similarity(q[0], key, dim=0) for key in k[1:]])
    lam = (lam - lam.min()) / (lam.max() - lam.min())
    return torch.stack([(gradient[0, 0] * v[i + 1] * lam[i]).sum().clamp(min=0) for i in range(len(lam))]).detach()


def gradcam(clip, pixels, text):
    run = forward(clip, pixels)
    y = run["y"][-1]
    (gradient,) = torch.autograd.grad(cosine(run["feature"], text), y)
    weights = gradient[0, 1:].mean(dim=0)
    return (y[0, 1:] * weights).sum(dim=-1).clamp(min=0).detach()


def legrad(clip, pixels, text, last):
    run, total = forward(clip, pixels), 0
    for x, A in list(zip(run["x"][1:], run["A"], strict=True))[-last:]:
        feature = clip.visual.ln_post(x[0].mean(dim=0)) @ clip.visual.proj
        (gradient,) = torch.autograd.grad(cosine(feature, text), A, retain_graph=True)
        total = total + gradient.clamp(min=0).mean(dim=(0, 1))[1:]
    return total.detach()


def value_kk(clip, pixels, text):
    run, block, visual = forward(clip, pixels), clip.visual.transformer.resblocks[-1], clip.visual
    k = F.linear(run["k"][-1], block.attn.out_proj.weight, block.attn.out_proj.bias)
    u = run["x"][-2][0] + F.linear(run["v"][-1], block.attn.out_proj.weight, block.attn.out_proj.bias)
    features = visual.ln_post(u + block.mlp(block.ln_2(u))) @ visual.proj
    pairs = zip(features[1:], k[1:], strict=True)
    return torch.stack([cosine(f, text) * F.cosine_similarity(key, k[0], dim=0) for f, key in pairs]).detach()


def integrated_gradients(clip, pixels, text):
    """captum's, with the same points."""
    from captum.attr import IntegratedGradients

    f = lambda x: torch.stack([cosine(feature, text) for feature in clip.encode_image(x)])  # noqa: E731
    relevance = IntegratedGradients(f).attribute(pixels, 0 * pixels, n_steps=16)
    side = clip.visual.patch_size[0]
    return F.avg_pool2d(relevance.sum(dim=1), side)[0].flatten().detach() * side**2


EXPLAINERS = {
    "chefer": lambda *a: chefer(*a, first=-1),
    "chefer_all": lambda *a: chefer(*a, first=0),
    "rollout": rollout,
    "grad_eclip": lambda *a: grad_eclip(*a, one_head=True),
    "grad_eclip_own_heads": lambda *a: grad_eclip(*a, one_head=False),
    "gradcam": gradcam,
    "legrad": lambda *a: legrad(*a, last=2),
    "legrad_all": lambda *a: legrad(*a, last=100),
    "value_kk": value_kk,
    "integrated_gradients": integrated_gradients,
}
