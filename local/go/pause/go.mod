module modelramp/local/go/pause

go 1.26
