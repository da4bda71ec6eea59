package configs

import _ "embed"

// Demo is configs/demo.yml, the rules file that `lb demo` serves.
//
//go:embed demo.yml
var Demo []byte
