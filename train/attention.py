"""fairseq's multi-head attention through torch's one operation for it.

That is, where only the result is asked for, and the weights have no dropout of their own. fairseq
takes twice as many operations, and from decoder to encoder it keeps the weights of all heads.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def install() -> None:
    """Put it in the place of fairseq's, wherever it does the same."""
    from fairseq.modules import MultiheadAttention

    general = MultiheadAttention.forward

    def forward(
        self: Any,
        query: Tensor,
        key: Tensor | None,
        value: Tensor | None,
        key_padding_mask: Tensor | None = None,
        incremental_state: Any = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Tensor | None = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if (
            key is None
            or value is None
            or incremental_state is not None
            or need_weights
            or before_softmax
            or need_head_weights
            or self.bias_k is not None
            or self.add_zero_attn
            or self.skip_embed_dim_check
            or self.use_xformers
            or (self.dropout_module.p and self.training)
            or (attn_mask is not None and attn_mask.dim() != 2)
        ):
            return general(  # type: ignore[no-any-return]
                self, query, key, value, key_padding_mask, incremental_state, need_weights,
                static_kv, attn_mask, before_softmax, need_head_weights,
            )  # fmt: skip
        length, batch, width = query.shape
        shape = (-1, batch, self.num_heads, self.head_dim)
        # (batch, heads, length, dimensions of a head)
        q, k, v = (
            projection(x).view(shape).permute(1, 2, 0, 3)
            for projection, x in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        mask = attn_mask
        if key_padding_mask is not None:
            padding = key_padding_mask.bool()[:, None, None, :]
            mask = ~padding if mask is None else mask.masked_fill(padding, -torch.inf)
        mixed = scaled_dot_product_attention(q, k, v, mask)
        return self.out_proj(mixed.permute(2, 0, 1, 3).reshape(length, batch, width)), None

    MultiheadAttention.forward = forward
