"""What bench/run measures, one file each; report.py and machine.py are what they share."""
