package clickhouse

import "strings"

// Text writes a string as the value of a parameter {name:String}: ClickHouse
// reads parameters in its tab-separated form, where a backslash begins an escape.
func Text(s string) string { return escapes.Replace(s) }

// Identifier and Literal quote a name and a text where ClickHouse takes no
// parameters: DDL, BACKUP. What they quote is the operator's or the database's
// own, never data.
func Identifier(s string) string {
	return "`" + strings.NewReplacer("\\", "\\\\", "`", "\\`").Replace(s) + "`"
}

// Literal: see Identifier.
func Literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}

var escapes = strings.NewReplacer(`\`, `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`, "\x00", `\0`, "\b", `\b`, "\f", `\f`)
