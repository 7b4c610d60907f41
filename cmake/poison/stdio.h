#error "core/ is pure: <stdio.h> may not be included here (docs/ARCHITECTURE.md)"
