"""Every error that a user can meet, drawn as a tree.

    CxrEdgeError                    exit code
    |-- InputError                  2   what was given cannot be used
    |   |-- RecipeError             2   unknown key, wrong type, value out of range
    |   |-- DataError               2   folder layout, classes, patients, splits
    |   |-- ImageError              2   one picture that cannot be read (collected, then exit code 3)
    |   |-- ModelError              2   unknown model, weights of another model
    |   `-- StageError              2   the stage before has not run, or ran with another recipe
    |-- MissingDependencyError      2   a package of an extra is not installed
    |-- StorageError                2   the disk is full or refuses a write
    |-- DeviceError                 1   a device is out of reach, was lost in the middle, or cannot do the work
    |-- ClusterError                1   a cluster is out of reach, has another package, or lost the work
    `-- VerificationError           1   what was promised does not hold
        |-- BundleError             1   digest, schema, missing file
        |   `-- EngineError         1   an engine that is not for this library or this GPU
        |-- ParityError             1   an artifact disagrees with the model that it came from
        |-- TrainingError           1   the loss is not a number; the memory does not suffice
        |-- PruningError            1   a budget out of reach, a slower candidate, a layer without weights
        `-- GateError               1   no artifact passed its recall gate

A message says what was found, what was expected and what to do, in one sentence or two.
"""

from __future__ import annotations


class CxrEdgeError(Exception):
    """Root of all errors of this package; `exit_code` is what the command line ends with."""

    exit_code = 2


class InputError(CxrEdgeError):
    """What was given cannot be used."""


class RecipeError(InputError):
    """A recipe has an unknown key, a wrong type or a value out of range."""


class DataError(InputError):
    """A data source has another layout, lacks a class, or has a patient on both sides."""


class ImageError(InputError):
    """One picture cannot be used; the message says why, without the file's name."""


class ModelError(InputError):
    """A model name is unknown, or weights belong to another model."""


class StageError(InputError):
    """The stage before has not run in this folder, or ran with another recipe or other data."""


class MissingDependencyError(CxrEdgeError):
    """A package that this command needs is not installed; the message names the extra."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(package, extra, purpose)  # as they are: an error travels between processes by its arguments

    def __str__(self) -> str:
        package, extra, purpose = self.args
        return f"{purpose} needs the package '{package}', which is not installed: pip install 'cxr-edge[{extra}]'."


class StorageError(CxrEdgeError):
    """The disk is full or refuses a write; nothing half-written is left."""


class DeviceError(CxrEdgeError):
    """A device is out of reach, was lost in the middle, cannot do the work, or gave back what is no result."""

    exit_code = 1


class ClusterError(CxrEdgeError):
    """A cluster is out of reach, a worker has another package or sees no data, or a piece of work was lost again and again."""

    exit_code = 1


class VerificationError(CxrEdgeError):
    """What was promised does not hold."""

    exit_code = 1


class BundleError(VerificationError):
    """A bundle has a changed byte, a missing file or an unknown schema."""


class EngineError(BundleError):
    """An engine was not built yet, or not for the library and the GPU that are here."""


class ParityError(VerificationError):
    """An artifact gives other answers than the model that it was made from."""


class TrainingError(VerificationError):
    """Training broke down: the loss is not a number, or the memory does not suffice."""

    epoch = 0  # the last good one, whose weights the network holds


class PruningError(VerificationError):
    """A budget is out of reach, a candidate is slower than its parent, or a layer would keep nothing."""


class GateError(VerificationError):
    """No artifact passed its recall gate."""
