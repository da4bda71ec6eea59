package labels

// speaksTLS says whether an entry point is one for https: to us they are plain
// numbers, so their names and the port of https have to tell.
func speaksTLS(name string, port uint16) bool {
	return port == 443 || name == "websecure" || name == "https"
}
