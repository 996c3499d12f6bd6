import { mount } from 'svelte';
import { translateWith } from '../admin/Failure.svelte';
import '../app.css';
import Console from './Console.svelte';
import './console.css';
import { sentence } from './sentences';

translateWith(sentence);
mount(Console, { target: document.getElementById('app')! });
