"""One slot, seen from outside: isolates each attempt, watches the machine, calibrates and checks the device."""
