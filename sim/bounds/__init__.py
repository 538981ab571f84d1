"""What no schedule can beat: lower bounds on mean completion time, makespan and the number of devices."""
