# Reads boot loaders' files and tells their entries, a line for each, with tabs between
#   title, kernel, initial RAM disks with blanks between, kernel's command line
# Of GRUB's language (-v language=grub) it knows quotes, variables that are set by plain words, and
# the commands menuentry, submenu, linux and initrd, whatever the conditions around them say. Of
# loader entries (-v language=loader; UAPI Group, Boot Loader Specification, type 1) it knows the keys
# title, version, linux, initrd and options.

BEGIN {
    quote = sprintf("%c", 39)
    VARIABLE = "^[$]([A-Za-z_][A-Za-z0-9_]*|[{][A-Za-z0-9_]+[}])"
}

language == "grub" { run_line($0) }

language == "loader" && $1 !~ /^#/ {
    value = $0
    sub(/^[ \t]*[^ \t]+[ \t]*/, "", value)
    sub(/[ \t\r]+$/, "", value)
    if ($1 == "title" || ($1 == "version" && title == "")) title = value
    else if ($1 == "linux") kernel = value
    else if ($1 == "initrd") disks = disks " " value
    else if ($1 == "options") options = options " " value
}

END { tell() }

# Takes a line apart into words[1 .. count], what variables stand for put in, and runs each command.
function run_line(line,    at, c, open, name) {
    count = 0
    start_word()
    open = ""
    for (at = 1; at <= length(line); at++) {
        c = substr(line, at, 1)
        if (open == quote) {
            if (c == quote) open = ""
            else word = word c
        } else if (c == "\\" && at < length(line)) {
            word = word substr(line, ++at, 1)
            begun = quoted = 1
        } else if (c == "$" && match(substr(line, at), VARIABLE)) {
            name = substr(line, at + 1, RLENGTH - 1)
            gsub(/[{}]/, "", name)
            word = word variable[name]
            if (variable[name] != "") begun = 1
            at += RLENGTH - 1
        } else if (open == "\"") {
            if (c == "\"") open = ""
            else word = word c
        } else if (c == quote || c == "\"") {
            open = c
            begun = quoted = 1
        } else if (c == "#" && !begun) {
            break
        } else if (c ~ /[ \t\r;]/) {
            end_word()
            if (c == ";") end_command()
        } else {
            word = word c
            begun = 1
        }
    }
    end_word()
    end_command()
}

function start_word() {
    word = ""
    begun = quoted = 0
}

function end_word() {
    if (!quoted && word ~ /^([{}]|then|else|do)$/) {
        end_command()
        # What it ends is an entry, as GRUB has nothing else with braces but functions.
        if (word == "}") tell()
    } else if (begun) {
        words[++count] = word
    }
    start_word()
}

function end_command(    at, equals) {
    equals = index(words[2], "=")
    if (count == 0) {
        return
    } else if (words[1] == "set" && count == 2 && equals > 1) {
        variable[substr(words[2], 1, equals - 1)] = substr(words[2], equals + 1)
    } else if (words[1] == "menuentry") {
        tell()
        title = words[2]
    } else if (words[1] ~ /^linux(16|efi)?$/ && count > 1) {
        kernel = words[2]
        options = disks = ""
        for (at = 3; at <= count; at++) options = options " " words[at]
    } else if (words[1] ~ /^initrd(16|efi)?$/) {
        for (at = 2; at <= count; at++) disks = disks " " words[at]
    }
    count = 0
}

# The entry ends here.
function tell() {
    if (kernel != "") {
        gsub(/[[:cntrl:]]/, " ", title)
        printf "%s\t%s\t%s\t%s\n", title == "" ? kernel : title, clean(kernel), clean(disks), clean(options)
    }
    title = kernel = disks = options = ""
}

function clean(text) {
    gsub(/[[:cntrl:]]/, " ", text)
    sub(/^ +/, "", text)
    return text
}
