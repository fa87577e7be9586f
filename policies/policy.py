"""What both kinds of policy share: normalised vectors and encoded images, and one action for one observation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from policies.gripper import commands
from policies.gripper_critic import greedy
from policies.normalization import Normalizer, Statistics, stacked_statistics
from policies.spec import PolicySpec


class Policy(nn.Module, ABC):
    """A policy over stacked vectors and images.

    Attributes:
        spec: What it was built from.
        normalizer: Frozen normalisation of its vectors.
        encoder: Of its images, or None where it has none. What of it is pretrained and frozen is not among the
            parameters.
        gripper: The component of an action that ``gripper_critic`` chooses; None where all are continuous.
        gripper_critic: Values of what the gripper can do, or None.
    """

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        self.spec = spec
        self.normalizer = Normalizer(spec.vector_size, spec.clip)
        self.gripper = spec.discrete_gripper
        self.gripper_critic: nn.Module | None = None
        self.encoder: nn.Module | None = None
        if spec.images:
            from policies.encoders import build_encoder

            self.encoder = build_encoder(spec)

    @property
    def device(self) -> torch.device:
        return self.normalizer.mean.device

    def freeze_statistics(self, statistics: Statistics, floor: float) -> None:
        """Sets the normalisation from (mean, std) of one frame of each input. Raises ValueError when set before."""
        self.normalizer.freeze(*stacked_statistics(statistics, self.spec.inputs, self.spec.stacks), floor)

    def vectors(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Stacked inputs, (B, size) each, to normalised vectors (B, V)."""
        inputs = [observation[name] for name in self.spec.inputs]
        if not inputs:
            return torch.empty(observation[self.spec.images[0]].shape[0], 0, device=self.device)
        return self.normalizer(inputs[0] if len(inputs) == 1 else torch.cat(inputs, -1))

    def encode(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Stacked images, (B, H, W, 3 * stack) uint8 each, to image features (B, E). Raises ImageError for others."""
        assert self.encoder is not None, self.spec
        return self.encoder(observation)

    def features(self, observation: Mapping[str, Tensor]) -> Tensor:
        """Normalised vectors and, after them, image features: (B, F)."""
        if self.encoder is None:
            return self.vectors(observation)
        if not self.spec.inputs:
            return self.encode(observation)
        return torch.cat((self.vectors(observation), self.encode(observation)), -1)

    @torch.inference_mode()
    def act(
        self,
        observation: Mapping[str, np.ndarray],
        *,
        deterministic: bool = False,
        generator: torch.Generator | None = None,
    ) -> np.ndarray:
        """One action for one stacked observation.

        Args:
            observation: Stacked inputs, (size,) float32, and images, (H, W, 3 * stack) uint8.
            deterministic: Without noise.
            generator: Of the noise, on the CPU; torch's global one where None.

        Returns:
            Shape (A,), float32, in [-1, 1].

        Raises:
            ImageError: for an image of another size or dtype.
        """
        batch = {
            name: torch.from_numpy(np.ascontiguousarray(observation[name])).unsqueeze(0).to(self.device)
            for name in self.spec.frames
        }
        size = self.spec.continuous_size
        noise = None if deterministic else torch.randn((1, size), generator=generator).to(self.device)
        features = self.features(batch)
        action = self.action(features, noise)
        if self.gripper is not None and self.gripper_critic is not None:
            last = self.gripper.last_command(batch)
            command = commands(greedy(self.gripper_critic(features), last), last).unsqueeze(-1)
            at = self.gripper.component
            action = torch.cat((action[:, :at], command, action[:, at:]), -1)
        return action.squeeze(0).cpu().numpy()

    def expressed(self, observation: Mapping[str, np.ndarray], action: np.ndarray) -> np.ndarray:
        """A person's action (A,) as this policy could have chosen it after a stacked observation, float32 (A,): where
        the gripper is one of a few classes, its command is that of the class that the action is of.

        So what is executed is what is learned from. NaN stays NaN.
        """
        action = np.array(action, np.float32)
        if self.gripper is not None and np.isfinite(action[self.gripper.component]):
            last = self.gripper.last_command(observation)
            action[self.gripper.component] = commands(self.gripper.classes(action, last), last)
        return action

    @abstractmethod
    def action(self, features: Tensor, noise: Tensor | None) -> Tensor:
        """Features (B, F) and standard normal noise (B, C), or None, to actions (B, C) in [-1, 1], without what
        ``gripper_critic`` chooses."""
