#error "core/ is pure: <sys/stat.h> may not be included here (docs/ARCHITECTURE.md)"
