"""Code that tests share: doubles of external systems, runners of real ones, and makers of data.

Doubles
    ``check_server``    a health check: a real HTTP server that records its pings, or answers badly
    ``fake_device``     an accelerator beside the CPU with its own memory, speed and failures
    ``fake_slurm``      ``sbatch`` and ``scancel`` of one machine, whose jobs are processes here
    ``full_disk``       a full disk
    ``hub_server``      a Hugging Face Hub with one dataset, whose files are on a server of their own
    ``quick_cluster``   a real scheduler with workers, in threads of the test's process
    ``s3_server``       moto's S3 over HTTP, which fails on demand; ``buckets`` points addresses at it
    ``victim``          a process that opens hostile files in the test's place

Real things
    ``command``         the command, called in the test's process
    ``callers``         the callers in ``workflows/``, in a test's folder
    ``container``       a box such as a container, with a read-only root and another user
    ``kills``           runs of the command that are killed at random moments
    ``processes``       processes of this machine: their parents and descendants
    ``processors``      features of this processor
    ``peak_probe``      the peak memory of a unit, computed in a separate process
    ``stub``            the stub of ``lvm_batch`` as it should be; ``make stubs`` writes it
    ``served``          a service on a port, in a thread of the test's process
    ``waiting``         waits for conditions, however busy the machine is

Data
    ``datasets``        datasets built from the sample's vectors
    ``documents``       documents of an output, built from a few values
    ``every_type``      columns of every type that Parquet can hold
    ``held_outputs``    outputs with one small unit for each input
    ``many_units``      jobs of very many units that compute nothing
    ``outputs``         outputs of jobs without models
    ``past_runs``       entries of a history with chosen figures
    ``reference``       the job done the plain way, one row at a time
    ``released``        an output and a history that release 0.1.0 wrote
    ``reported``        an output whose names are as hostile as possible
    ``routers``         fitted routers whose expectations a test can compute
    ``thrift``          Parquet footers with single numbers changed
    ``wild``            datasets as found in the wild, each with what must come out of it
"""
