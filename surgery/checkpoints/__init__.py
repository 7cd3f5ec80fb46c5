"""Checkpoint files: what they hold, told by their content and never by their suffix, in the names of open_clip.

reading        a file -> what was saved in it; nothing is ever unpickled
torchscript    the tensors of a TorchScript archive, without running its code
unwrapping     wrappers (`state_dict`, `model`) and prefixes (`module.`, `clip.`) taken off
converting     the names of other packages (OpenAI, Hugging Face) -> those of open_clip
transformers   a `config.json` of Hugging Face -> a configuration of open_clip
folders        which files of a folder are the weights, and sharded ones put together
fitting        a model of the file's own sizes, and the strict load into it
naming         which architectures a file fits, for an error that says what would work
"""

from surgery.checkpoints.contents import Checkpoint, CheckpointError, CheckpointWarning

__all__ = ["Checkpoint", "CheckpointError", "CheckpointWarning"]
