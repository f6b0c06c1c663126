"""``python -m lvm_batch`` is the ``lvm-batch`` command.

The rule: as with the command, nothing that lies in the working directory is imported.
"""

import sys

from lvm_batch.jobs.processes.child_processes import ignore_working_directory

if __name__ == "__main__":
    ignore_working_directory()  # before the imports of the command, which could find their names there
    from lvm_batch.jobs.cli import command

    sys.exit(command())
