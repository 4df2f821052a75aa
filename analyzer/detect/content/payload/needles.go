package payload

// Needles are parts of which at least one is in every request that Request finds
// something in, or in what it is after decoding %XX up to three times, without regard to case: what a
// database can look for before a text is worth a look. There are fewer than 255 of
// them, as ClickHouse's multiSearchAny wants.
func Needles() []string {
	return []string{
		"${", "#{", "{{", "<%", "&#", "&lt", "&quot", "&apos", "%u", `\u`, "<", "`", "$(", "../", `..\`, "..;", "....", "%c0", "\xc0",
		"union", "sleep", "benchmark", "waitfor", "select", "extractvalue", "updatexml", "information_schema", "xp_", "load_file", "into outfile", "into dumpfile", "utl_http", "utl_inaddr", "sp_oacreate",
		"receive_message", "randomblob", "' or", "' and", "'or", "'and", "\" or", "\" and", "\"or", "\"and", "'='", `"="`, "' ||", "'||", "' =", "'/*", "\"/*", "/**/", "/*!",
		" or", "+or", " and", "+and", " xor", "+xor", ")xor", "\t", "\v", "\f", "\r", "\xa0", "/*", ")or", ")and", "||", "&&", "order by", "order+by", "group by", "group+by", "';", "\";", "; drop", ";drop", ";+drop", "; insert", ";insert", ";+insert",
		"; update", ";update", "; delete", ";delete", ";declare", "; declare", "; exec", ";exec", "'--", "' --", "'#", "' #", "'+--", "')", "\")", "\"--", "chr(", "char(", "case when", "if(", "' -", "'-", "'+", "'\"", "'",
		"javascript", "onerror", "onload", "onfocus", "onclick", "onmouse", "ontoggle", "onblur", "onstart", "onbegin", "onpointer", "onanim", "ontrans", "oninput", "onchange", "onsubmit", "onwheel", "onpage", "onhash",
		";", "|", "cmd", "powershell", "/bin/", "wget", "curl", "java.lang", "@ognl", "memberaccess", "getruntime", "processbuilder", "#context", "__", "_self.env", "freemarker", "system(", "passthru", "shell_exec",
		"popen", "proc_open", "assert(", "phpinfo", "call_user_func", "file_put_contents", "classloader", "allow_url_include", "auto_prepend_file", "invokefunction", "exec=", "command=", "execute=", "shell=",
		"eval-stdin", "/_ignition/", "/boaform/", "stok=", "/manager/text/deploy", "/etc/", "/proc/", "win.ini", "boot.ini", "system32", "winnt", "php://", "expect://", "phar://", "data:text", "data://text", "() {", "(){", "()",
		"\n", "\"", "%26", "%00", "\x00", ")",
	}
}

// HeaderNeedles are the same for Header. Every browser has brackets and semicolons.
func HeaderNeedles() []string {
	return []string{
		"%00", "\x00", "%c0", "${", "%u", `\u`, "&#", "&lt", "&quot", "&apos", "<script", "() {", "(){", "()  ", "$(", "`", "wget ", "curl ", "sleep", "waitfor", "benchmark", "' or", "' and", "'or", "'and", "\" or", "\" and", "\"or", "\"and",
		"sqlmap", "nikto", "acunetix", "nessus", "openvas", "wpscan", "gobuster", "dirbuster", "feroxbuster", "ffuf", "nuclei", "wfuzz", "havij", "netsparker", "w3af", "arachni", "jaeles", "commix", "xsser", "zgrab",
		"masscan", "nmap scripting", "hydra", "fimap", "joomscan", "whatweb",
	}
}
