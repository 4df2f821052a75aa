package clickhouse

import "strings"

// Text writes a string as the value of a parameter {name:String}: ClickHouse
// reads parameters in its tab-separated form, where a backslash begins an escape.
func Text(s string) string { return escapes.Replace(s) }

var escapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)
