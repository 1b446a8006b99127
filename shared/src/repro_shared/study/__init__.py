"""What a paper is made of, how its studies are run, and what is published of them."""
