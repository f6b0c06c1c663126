"""What tests share: doubles of things that a test cannot have, and makers of data.

Doubles
    ``check_server``    a health check: a real HTTP server that records its pings, or answers badly
    ``fake_device``     an accelerator beside the CPU with its own memory, speed and failures
    ``fake_slurm``      ``sbatch`` and ``scancel`` of one machine, whose jobs are processes here
    ``full_disk``       a disk without room
    ``quick_cluster``   a real scheduler with workers, in threads of the test's process
    ``s3_server``       moto's S3 over HTTP, which fails on demand; ``buckets`` leads addresses to it
    ``victim``          a process that opens hostile files in the test's place

Real things
    ``command``         the command, called in the test's process
    ``callers``         the callers in ``workflows/``, in a folder of the test's
    ``kills``           runs of the command that are killed at random moments
    ``processes``       processes of this machine: who is below whom
    ``processors``      what this processor can do
    ``peak_probe``      the peak memory of a unit, computed in a process of its own
    ``served``          a service on a port, in a thread of the test's process
    ``waiting``         waits for conditions, however busy the machine is

Data
    ``datasets``        datasets made from the sample's vectors
    ``documents``       documents of an output, made from few values
    ``every_type``      columns of every type that Parquet can hold
    ``held_outputs``    outputs of one small unit for each input
    ``many_units``      jobs of very many units that compute nothing
    ``outputs``         outputs of jobs without models
    ``past_runs``       entries of a history with chosen figures
    ``reference``       the job done the plain way, one row at a time
    ``released``        an output and a history that release 0.1.0 wrote
    ``reported``        an output whose names are as hostile as names can be
    ``thrift``          Parquet footers in which single numbers lie
"""
