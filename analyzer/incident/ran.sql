SELECT max(job_runs.ran) FROM job_runs FINAL WHERE detector = {detector:String} AND version = {version:UInt16}
