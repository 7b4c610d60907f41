#error "core/ is pure: <systemd/sd-journal.h> may not be included here (docs/ARCHITECTURE.md)"
