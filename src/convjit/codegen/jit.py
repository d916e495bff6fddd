"""From the text of a module to a function in memory, through an object file that can be kept."""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm

from convjit.codegen.target import Target, host_target, initialise_llvm, runnable_targets

__all__ = ["Loader", "assembly", "compile_object", "machine_text", "versions"]


def versions() -> str:
    """Compiler versions, as part of the key of anything kept on disk."""
    return f"llvm {'.'.join(map(str, llvm.llvm_version_info))}"


@cache
def _processor(target: Target) -> tuple[str, str]:
    """(cpu, features) for LLVM: this very processor where `target` is the widest that it runs, else the target's
    own.
    """
    if target.name == next((t.name for t in runnable_targets()), None):
        features = llvm.get_host_cpu_features().flatten()
        return llvm.get_host_cpu_name(), f"{features},{target.features}" if target.features else features
    return target.cpu, target.features


def machine_text(target: Target) -> str:
    """Processor and features that code is made for."""
    return " ".join(_processor(target))


def _new_machine(target: Target) -> llvm.TargetMachine:
    initialise_llvm()
    cpu, features = _processor(target)
    return llvm.Target.from_triple(target.triple).create_target_machine(
        cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True
    )


_machine = cache(_new_machine)


def _optimised(text: str, target: Target) -> llvm.ModuleRef:
    initialise_llvm()
    module = llvm.parse_assembly(text, context=llvm.create_context())
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    # The kernels are vector code already; what these passes find to do costs compile time and spills.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(_machine(target), options)
    builder.getModulePassManager().run(module, builder)
    return module


def compile_object(text: str, target: Target) -> bytes:
    """An object file from the text of a module."""
    return bytes(_machine(target).emit_object(_optimised(text, target)))


def assembly(text: str, target: Target) -> str:
    """The assembly that a module becomes, for any target, for people and tests to read."""
    return str(_machine(target).emit_assembly(_optimised(text, target)))


class Loader:
    """Holds loaded object files; their functions live as long as it does."""

    def __init__(self) -> None:
        initialise_llvm()
        empty = llvm.parse_assembly("")
        # The engine owns its machine and closes it, so that it cannot be the shared one.
        self._engine = llvm.create_mcjit_compiler(empty, _new_machine(host_target()))

    def add(self, code: bytes) -> None:
        """Load one object file; its symbols must be new."""
        self._engine.add_object_file(llvm.ObjectFileRef.from_data(code))

    def address(self, symbol: str) -> int:
        """Address of a function."""
        self._engine.finalize_object()
        return int(self._engine.get_function_address(symbol))
